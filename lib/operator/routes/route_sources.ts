/** What routes are compiled from. */
import type { KubeObject } from "../../kube/objects.ts";
import type { Tunnel } from "../tunnel.ts";
import type { NamespaceFacts } from "./binding_namespaces.ts";
import type { NamedText, TextPath } from "../named_texts.ts";
import type { BackendSources } from "./route_resolution.ts";

/** What routes are compiled from. */
export interface RouteSources extends BackendSources {
  readonly tunnels: ReadonlyMap<string, Tunnel>;
  readonly bindings: Iterable<KubeObject>;
  readonly policies: Iterable<KubeObject>;
  /**
   * A namespace; `absent` where there is none, `unreadable` while the API server does not tell, undefined
   * where namespaces are not followed.
   */
  namespace(name: string): NamespaceFacts | "absent" | "unreadable" | undefined;
  /** Digest of a token of callers, or why there is none. */
  callerToken(path: TextPath): NamedText;
  readonly idPrefix: string;
}
