/** What routes depend on that is read by name: namespaces, CAs, credentials and callers' tokens. */
import type { Context } from "../context.ts";
import { NamedTexts } from "../named_texts.ts";
import { BindingNamespaces } from "./binding_namespaces.ts";
import {
  callerTokenNotRead,
  callerTokenUnreadable,
  caNotRead,
  caUnreadable,
  credentialNotRead,
  credentialUnreadable,
  readCa,
  readCallerToken,
  readCredential,
} from "./route_texts.ts";

/** What they are read with. */
export interface NamedSourcesOptions {
  readonly context: Pick<Context, "client" | "caches" | "settings" | "digest" | "log">;
  /** What is wrong with the text of a CA, as a relative clause; undefined if agents can use it. */
  readonly caFault: (text: string) => string | undefined;
  /** Called when one of them has changed. */
  readonly changed: () => void;
}

/** The sources, from the first reading on. */
export interface NamedSources {
  readonly namespaces: BindingNamespaces;
  readonly cas: NamedTexts;
  readonly credentials: NamedTexts;
  /** Digests of callers' tokens. */
  readonly callerTokens: NamedTexts;
}

/** Sources of which nothing has been read yet. */
export function namedSources({ context, caFault, changed }: NamedSourcesOptions): NamedSources {
  const { client, settings, digest } = context;
  const ofBindings = { settings, changed, user: "TunnelBindings" };
  return {
    namespaces: new BindingNamespaces({ context, changed }),
    cas: new NamedTexts({
      ...{ ...ofBindings, unread: caNotRead, unreadable: caUnreadable },
      read: (path) => readCa(client, path, caFault),
    }),
    credentials: new NamedTexts({
      ...{ ...ofBindings, unread: credentialNotRead, unreadable: credentialUnreadable },
      read: (path) => readCredential(client, path),
    }),
    callerTokens: new NamedTexts({
      ...{ settings, changed, user: "AccessPolicies" },
      ...{ unread: callerTokenNotRead, unreadable: callerTokenUnreadable },
      read: (path) => readCallerToken(client, path, digest),
    }),
  };
}
