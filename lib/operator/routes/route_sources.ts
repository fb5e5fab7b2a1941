/** What routes are compiled from. */
import type { KubeObject } from "../../kube/objects.ts";
import type { Tunnel } from "../tunnel.ts";
import type { NamespaceFacts } from "./binding_namespaces.ts";
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
  readonly idPrefix: string;
}
