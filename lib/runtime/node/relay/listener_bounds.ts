/** How the relay's listeners differ: limits, TLS, and proxies in front. */
import type { HeadLimits } from "../../../http1/head.ts";
import type { ConnectionLimits } from "../../../net/connection_limit.ts";
import { withHopSlack } from "../../../relay/hop/hop_fields.ts";
import type { Relay } from "../../../relay/relay.ts";
import type { PassThrough } from "../listener/connection_listener.ts";
import type { TrustedProxies } from "../listener/tcp_listener.ts";
import type { ServerTls } from "../listener/tls_acceptor.ts";
import type { CertificatesByName } from "../listener/web_tls_acceptor.ts";
import type { RelaySetup } from "./setup.ts";
import type { RelayServerTls } from "./tls.ts";

/** A listener's name, in the log and as the metrics' label. */
export type ListenerName = "public" | "internal" | "health" | "web" | "admin" | "hop";

/** What is different from listener to listener. */
export interface ListenerBounds {
  readonly limits: HeadLimits;
  readonly connections: ConnectionLimits;
  readonly tls?: ServerTls | undefined;
  readonly certificates?: CertificatesByName | undefined;
  readonly passThrough?: PassThrough | undefined;
  readonly passesNow?: (() => boolean) | undefined;
  readonly proxies?: TrustedProxies | undefined;
  /** The address is this process's alone, though there are other workers. */
  readonly isOwn?: boolean;
}

/** What the web listener has besides its options. */
export interface WebEntrance {
  /** Plain HTTP without them. */
  readonly certificates?: CertificatesByName | undefined;
  /** Takes connections of services that the relay does not open. */
  readonly passThrough?: PassThrough | undefined;
  /** Whether there are such services now. */
  readonly passesNow?: (() => boolean) | undefined;
}

/** The bounds of each listener, by its name. */
export type ListenersBounds = Readonly<Record<ListenerName, ListenerBounds>>;

/** The bounds of all listeners that a relay may have. */
export function boundsOf(
  { config: { head } }: Relay,
  options: RelaySetup,
  tls: RelayServerTls | undefined,
  web: WebEntrance,
): ListenersBounds {
  const { maxConnections: max, maxConnectionsPerAddress, trustedProxies, worker } = options;
  const perAddress = { max, maxPerAddress: maxConnectionsPerAddress };
  // All callers may have one address, that of a proxy; so may agents, but each has a credential.
  const anybody = { max, maxPerAddress: 0 };
  const behindProxies = trustedProxies ? anybody : perAddress;
  const proxies = trustedProxies && { ranges: trustedProxies, sendHeader: options.proxyProtocol };
  // A head that another relay has let in comes with a few fields more.
  const hopHead = withHopSlack(head);
  return {
    public: { limits: head, tls: tls?.agents, connections: perAddress },
    internal: {
      limits: options.directory ? hopHead : head,
      tls: tls?.callers,
      connections: anybody,
      proxies,
    },
    web: { limits: head, connections: behindProxies, proxies, ...web },
    health: { limits: head, connections: anybody },
    // Only one of several workers has this listener.
    admin: { limits: head, tls: tls?.callers, connections: behindProxies, proxies, isOwn: true },
    hop: {
      limits: hopHead,
      tls: worker?.hasOwnStore ? undefined : tls?.callers,
      connections: anybody,
      isOwn: true,
    },
  };
}
