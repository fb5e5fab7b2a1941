/** Callers who stand for users of a cluster, with their agent at another relay than they come to. */
import assert from "node:assert/strict";
import { exportPKCS8, exportSPKI, generateKeyPair } from "jose";
import { type RunningRelay, startAgent, startRelay } from "../support/programs.ts";
import { readRequest } from "../support/raw_http.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { call, codeIn } from "./raw_calls.ts";
import { announce, claim, relayToken, tokenOf, untilInDirectory } from "./relays.ts";

const mirror = answering(({ bytes }) => {
  const head = new TextDecoder().decode(bytes);
  return `HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n${head}`;
});

const callerTokens = [{ name: "ci", token: "token-of-the-ci-job", clusters: ["*"] }];
const bearer = "Authorization: Bearer token-of-the-ci-job";

const impersonate = {
  prefix: "corp:",
  callers: { "token:ci": { groups: ["deployers", "viewers"] } },
};

const clusters = ["one", "two"].map((id) => ({
  ...{ id, token: tokenOf(id), targetAddr: "api" },
  ...id === "one" && { impersonate },
}));

async function startPeer(redis: Redis, keys: string): Promise<RunningRelay> {
  const relay = await startRelay({
    clusters,
    args: [
      ...["--directory", redis.url, "--advertise", "http://127.0.0.1:0"],
      ...["--assertion-keys", keys, "--caller-tokens", JSON.stringify(callerTokens)],
    ],
    env: { RELAY_TOKEN: relayToken },
  });
  await untilInDirectory(relay);
  return relay;
}

async function makeKeys(folder: string): Promise<void> {
  const pair = await generateKeyPair("ES256", { extractable: true });
  await Deno.writeTextFile(`${folder}/private.pem`, await exportPKCS8(pair.privateKey));
  await Deno.writeTextFile(`${folder}/public.pem`, await exportSPKI(pair.publicKey));
}

Deno.test(
  "relays tell each other whom an agent is to impersonate",
  { ignore: !hasRedis },
  async (t) => {
    const folder = await Deno.makeTempDir();
    await makeKeys(folder);
    await using redis = await Redis.start();
    await using target = await startRawTarget(mirror);
    await using holder = await startPeer(redis, `${folder}/private.pem`);
    await using other = await startPeer(redis, `${folder}/private.pem`);
    const targets = [{
      ...{ name: "api", address: target.address },
      impersonate: {
        ...{ proof: "assertion", issuer: "culvert", audience: ["/tunnel/one"], prefix: "corp:" },
        ...{ keysFile: `${folder}/public.pem`, groups: ["deployers", "viewers"] },
      },
    }];
    await Deno.writeTextFile(`${folder}/targets.json`, JSON.stringify({ targets }));
    await using _agent = await startAgent({
      ...{ relayUrl: holder.connectUrl, token: tokenOf("one") },
      args: ["-targets", `${folder}/targets.json`],
    });
    await holder.waitForAgent("one");

    await t.step(
      "the caller's user and groups arrive, and nothing of the caller's own",
      async () => {
        const fields = [bearer, "Accept: */*", "X-Other: kept"];
        const { status, text } = await call(
          other.internalAddress,
          "GET /tunnel/one/api?x=%2F",
          fields,
        );
        assert.equal(status, 200, text);
        assert.match(text, /^GET \/api\?x=%2F HTTP\/1\.1\r\n/);
        const told = text.split("\r\n").filter((line) => /^impersonate/i.test(line));
        assert.deepEqual(told, [
          "Impersonate-User: corp:token:ci",
          "Impersonate-Group: deployers",
          "Impersonate-Group: viewers",
        ]);
        assert.match(text, /^x-other: kept\r$/im);
        assert.doesNotMatch(text, /^(?:culvert-|authorization)/im);
      },
    );

    await t.step("--as-group narrows there as here", async () => {
      const as = ["Impersonate-User: corp:token:ci", "Impersonate-Group: viewers"];
      const { text } = await call(other.internalAddress, "GET /tunnel/one/", [bearer, ...as]);
      const told = text.split("\r\n").filter((line) => /^impersonate-group/i.test(line));
      assert.deepEqual(told, ["Impersonate-Group: viewers"]);
      const wrong = [as[0]!, "Impersonate-Group: system:masters"];
      const refused = await call(other.internalAddress, "GET /tunnel/one/", [bearer, ...wrong]);
      assert.equal(refused.status, 403);
    });
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test("a relay that knows no identities gets no request whose agent is to impersonate", {
  ignore: !hasRedis,
}, async () => {
  const folder = await Deno.makeTempDir();
  await makeKeys(folder);
  await using redis = await Redis.start();
  const lines: string[] = [];
  // It serves `/tunnel/` and what services need, and answers 404 to all it does not know.
  await using older = await startRawTarget(async (connection) => {
    while (!connection.isClosed) {
      const { startLine } = await readRequest(connection.reader);
      lines.push(startLine);
      const isKnown = / (?:\/tunnel\/|\/\.culvert\/hop )/.test(startLine);
      await connection.write(
        isKnown
          ? "HTTP/1.1 102 Processing\r\nCulvert-Hop: accepted\r\n\r\n" +
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
          : "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
      );
    }
  });
  await using relay = await startPeer(redis, `${folder}/private.pem`);
  await announce(redis, "older", `http://${older.address}`);
  for (const { id } of clusters) await claim(redis, "older", id, {});
  const refused = await call(relay.internalAddress, "GET /tunnel/one/api", [bearer]);
  assert.equal(refused.status, 502);
  assert.equal(codeIn(refused.text), "relay_cannot_impersonate");
  // The relay is not avoided for that: everything else goes to it as before.
  const taken = await call(relay.internalAddress, "GET /tunnel/two/api", [bearer]);
  assert.equal(taken.text, "hi");
  assert.deepEqual(lines, [
    "GET /.culvert/identity-hop HTTP/1.1",
    "GET /tunnel/two/api HTTP/1.1",
  ]);
  await Deno.remove(folder, { recursive: true });
});
