/** What a relay that works with others is lent: the directory's store, and the way to its peers. */
import type { RelayOptions } from "../../../config/relay_options.ts";
import type { RelaysOptions } from "../../../relay/hop/join_relays.ts";
import type { DialPeer } from "../../../relay/hop/peers.ts";
import { dialPeer } from "../../deno/dial_peer.ts";
import type { TlsFiles } from "../tls_files.ts";

/** What it takes to work with other relays, if there are any. */
export async function relaysOf(
  { directory }: RelayOptions,
  tlsFiles: TlsFiles<"tls">,
): Promise<RelaysOptions | undefined> {
  if (!directory) return undefined;
  // A relay on its own does without the client.
  const { redisStore } = await import("../redis_store.ts");
  const { url, token } = directory;
  const dial: DialPeer = (peerUrl, signal) => {
    const clientCa = tlsFiles.pem("tls-client-ca");
    const ca = tlsFiles.pem("relay-ca") ?? clientCa;
    // A relay that demands certificates gets this one's own.
    const own = clientCa === undefined
      ? {}
      : { cert: tlsFiles.pem("tls-cert"), key: tlsFiles.pem("tls-key") };
    return dialPeer(peerUrl, { ca, ...own }, signal);
  };
  return { token, store: redisStore(url), dial };
}

/** The advertised origin, in which port 0 stands for the one that was bound. */
export function advertisedUrl(advertise: string, bound: string): string {
  const url = new URL(advertise);
  if (url.port === "0") url.port = bound.slice(bound.lastIndexOf(":") + 1);
  return url.origin;
}
