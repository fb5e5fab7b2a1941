/** The relays' shared token gives way to another one, while requests go from relay to relay. */
import assert from "node:assert/strict";
import { type RunningRelay, startAgent } from "../support/programs.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { startRawTarget } from "../support/target.ts";
import { readRequest } from "../support/raw_http.ts";
import { call, codeIn } from "./raw_calls.ts";
import { metric, startPeer, tokenOf } from "./relays.ts";
import { untilEqual } from "../support/deadline.ts";

const [former, next] = ["the-former-relay-token-0123", "the-next-relay-token-456789"];

/** A relay and the file of its tokens. */
interface Peer {
  readonly relay: RunningRelay;
  readonly file: string;
}

/** Writes a relay's file, and waits until it has taken it. */
async function give({ relay, file }: Peer, tokens: readonly string[]): Promise<void> {
  const isReload = ({ message, source }: Record<string, unknown>) =>
    message === "Configuration reloaded" && source === "relay_tokens";
  const write = () => Deno.writeTextFile(file, tokens.map((token) => `${token}\n`).join(""));
  await relay.logAfter(write, isReload, { what: "the relay's word that it has other tokens" });
}

/** Has a relay take a request as if a relay with this token had forwarded it. */
async function hopWith(token: string, relay: RunningRelay): Promise<string | undefined> {
  const { status, text } = await call(relay.internalAddress, "GET /tunnel/nobody/", [
    "Culvert-Hop: some-relay",
    `Culvert-Relay-Token: ${token}`,
    "Culvert-Caller-Address: 10.1.2.3",
    "Culvert-Caller-Proto: https",
    "Culvert-Caller-Kind: token",
    "Culvert-Caller-Name: somebody",
  ]);
  return status === 421 || status === 403 ? codeIn(text) : `${status}`;
}

Deno.test({
  name: "the relays' token is changed relay by relay, and no forwarded request is refused",
  ignore: !hasRedis,
  async fn() {
    const folder = await Deno.makeTempDir({ prefix: "culvert-test-" });
    try {
      await using target = await startRawTarget(async (connection) => {
        while (!connection.isClosed) {
          await readRequest(connection.reader);
          await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
      });
      await using redis = await Redis.start();
      const targets = { one: target.address, two: target.address };
      const files = [`${folder}/one`, `${folder}/two`] as const;
      for (const file of files) await Deno.writeTextFile(file, `${former}\n`);
      const options = { directory: redis.url, targets };
      await using first = await startPeer({ ...options, tokenFile: files[0] });
      await using second = await startPeer({ ...options, tokenFile: files[1] });
      const agent = { target: target.address };
      const [one, two] = [tokenOf("one"), tokenOf("two")];
      await using _one = await startAgent({ ...agent, relayUrl: first.connectUrl, token: one });
      await using _two = await startAgent({ ...agent, relayUrl: second.connectUrl, token: two });
      await first.waitForAgent("one");
      await second.waitForAgent("two");

      const peers: readonly Peer[] = [
        { relay: first, file: files[0] },
        { relay: second, file: files[1] },
      ];
      const bothWays = async (when: string): Promise<void> => {
        const calls = [[second, "one"], [first, "two"]] as const;
        for (const [relay, cluster] of calls) {
          const { status, text } = await call(relay.internalAddress, `GET /tunnel/${cluster}/`);
          assert.equal(status, 200, `${cluster}, ${when}: ${text}`);
        }
      };
      await bothWays("at first");
      for (const tokens of [[former, next], [next, former], [next]]) {
        for (const [index, peer] of peers.entries()) {
          await give(peer, tokens);
          await bothWays(`with ${tokens.length} tokens at relay ${index}`);
        }
      }
      for (const { relay } of peers) {
        assert.equal(await hopWith(next, relay), "not_here");
        assert.equal(await hopWith(former, relay), "forbidden_hop");
        const refused = 'culvert_forwarded_requests_total{result="refused"}';
        await untilEqual(() => metric(relay, refused), 0);
        assert.doesNotMatch(relay.program.logText(), /relay-token-[0-9]/);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
