/** What a relay that works with others is lent: the directory's store, and the way to its peers. */
import { readRelayTokens } from "../../../config/directory_options.ts";
import type { RelayOptions } from "../../../config/relay_options.ts";
import type { PeerOptions } from "../../../relay/hop/create_peer_routing.ts";
import type { DialPeer } from "../../../relay/hop/peers.ts";
import type { Relay } from "../../../relay/relay.ts";
import { dialPeer, type PeerTls } from "../../deno/dial_peer.ts";
import { followConfig } from "../followed_config.ts";
import type { TlsFiles } from "../tls_files.ts";
import { openDirectoryStore } from "./directory_store.ts";
import type { RelaySetup } from "./setup.ts";
import { callersCa } from "./tls.ts";
import type { WatchedFiles } from "../watched_files.ts";

/** What it takes to work with other relays, if there are any. */
export async function relaysOf(
  setup: RelaySetup,
  tlsFiles: TlsFiles<"tls">,
): Promise<PeerOptions | undefined> {
  const { directory } = setup;
  if (!directory) return undefined;
  const { tokens } = directory;
  const dial: DialPeer = (peerUrl, signal) => dialPeer(peerUrl, peerTlsOf(tlsFiles), signal);
  const store = await openDirectoryStore(setup);
  return { tokens, store, dial, stopTogether: setup.worker?.hasOwnStore === true };
}

/** How this relay knows the others, and shows who it is. */
export function peerTlsOf(tlsFiles: TlsFiles<"tls">): PeerTls {
  const clientCa = callersCa(tlsFiles);
  const ca = tlsFiles.pem("relay-ca") ?? clientCa;
  // A relay that demands certificates gets this one's own.
  const own = clientCa === undefined
    ? {}
    : { cert: tlsFiles.pem("tls-cert"), key: tlsFiles.pem("tls-key") };
  return { ca, ...own };
}

/** Takes over what the file of the relays' tokens holds when it changes. */
export function followRelayTokens({ directory }: RelayOptions, relay: Relay): WatchedFiles[] {
  const file = directory?.tokensFile;
  const { peers, metrics, log } = relay;
  if (!file || !peers) return [];
  const files = followConfig({
    source: "relay_tokens",
    paths: [file.path],
    known: [file],
    apply([changed]) {
      const tokens = readRelayTokens(changed?.text ?? "", `Relay token file ${file.path}`);
      peers.tokens.replace(tokens);
      return Promise.resolve({ tokens: tokens.length });
    },
    metrics,
    log,
  });
  return [files];
}

/** The advertised origin, in which port 0 stands for the one that was bound. */
export function advertisedUrl(advertise: string, bound: string): string {
  const url = new URL(advertise);
  if (url.port === "0") url.port = bound.slice(bound.lastIndexOf(":") + 1);
  return url.origin;
}
