/** Callers with client certificates: who is let in, and to which cluster. */
import { equal } from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { connect } from "node:tls";
import { within } from "../support/deadline.ts";
import { startAgent, startRelay } from "../support/programs.ts";
import type { RunningRelay } from "../support/programs.ts";
import { RawConnection, splitAddress } from "../support/raw_connection.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { okWith } from "../interop/contents.ts";
import { requestHead } from "../http/tunnel.ts";
import { readWireResponse, statusOf } from "../http/wire.ts";
import { Authority, type KeyPairFiles, withFolder } from "../support/certificates.ts";
import { bearer } from "./setup.ts";

const token = "token-of-the-cluster-s-agent";
const callerToken = "token-of-a-caller-0123456";

interface World {
  readonly relay: RunningRelay;
  status(pair: KeyPairFiles, cluster: string, fields?: readonly string[]): Promise<number>;
  readonly argocd: KeyPairFiles;
  readonly spiffe: KeyPairFiles;
  readonly agent: KeyPairFiles;
}

async function withCertificates(
  callerArgs: readonly string[],
  test: (world: World) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "own");
    const server = await authority.issue("server", "IP:127.0.0.1");
    const agentPair = await authority.issue("agent", "DNS:agent");
    const argocd = await authority.issue("argocd", "DNS:argocd.example");
    const spiffe = await authority.issue("spiffe", "URI:spiffe://example/ci/deploy");
    const ca = await Deno.readTextFile(authority.caPath);
    await using target = await startRawTarget(answering(okWith("served")));
    await using relay = await startRelay({
      clusters: [
        { id: "blue", token, targetAddr: target.address },
        { id: "red", token: `${token}-red`, targetAddr: target.address },
      ],
      args: [
        ...["-tls-cert", server.certPath, "-tls-key", server.keyPath],
        ...["-tls-client-ca", authority.caPath, ...callerArgs],
      ],
    });
    await using _agent = await startAgent({
      ...{ relayUrl: `wss://${relay.publicAddress}/connect`, token, target: target.address },
      args: [
        ...["-server-ca-cert", authority.caPath],
        ...["-client-cert", agentPair.certPath, "-client-key", agentPair.keyPath],
      ],
    });
    await relay.waitForAgent("blue");
    const status = async (
      pair: KeyPairFiles,
      cluster: string,
      fields: readonly string[] = [],
    ): Promise<number> => {
      const socket = connect({
        ...splitAddress(relay.internalAddress),
        ca,
        cert: await Deno.readTextFile(pair.certPath),
        key: await Deno.readTextFile(pair.keyPath),
      });
      await within(once(socket, "secureConnect"), "the TLS handshake");
      await using connection = new RawConnection(socket as Socket);
      await connection.write(requestHead("GET", `/tunnel/${cluster}/x`, fields));
      return statusOf(await within(readWireResponse(connection.reader, "GET"), "the answer"));
    };
    await test({ relay, status, argocd, spiffe, agent: agentPair });
  });
}

Deno.test("without rules, any certificate of the CA opens all clusters, and gives a name", async () => {
  await withCertificates([], async ({ relay, status, argocd, agent }) => {
    equal(await status(argocd, "blue"), 200);
    equal(await status(agent, "blue"), 200);
    equal(await status(argocd, "red"), 502);
    const line = await relay.waitForLog(({ message }) => message === "Request");
    equal(line.caller, "argocd");
    equal(line.caller_kind, "certificate");
  });
});

Deno.test("rules say which certificates open which clusters", async () => {
  const rules = [
    { name: "argocd.example", clusters: ["blue"] },
    { name: "spiffe://example/ci/*", clusters: ["r*"] },
  ];
  const args = ["-caller-certificates", JSON.stringify(rules)];
  await withCertificates(args, async ({ relay, status, argocd, spiffe, agent }) => {
    equal(await status(argocd, "blue"), 200);
    equal(await status(argocd, "red"), 403);
    equal(await status(argocd, "no-such-cluster"), 403);
    equal(await status(spiffe, "blue"), 403);
    equal(await status(spiffe, "red"), 502);
    equal(await status(agent, "blue"), 401, "an agent's certificate is none of a caller");
    equal(await status(agent, "blue", [bearer(callerToken)]), 401);
    const line = await relay.waitForLog(({ reason }) => reason === "unknown_certificate");
    equal(line.caller, "agent");
  });
});

Deno.test("where tokens are configured, a certificate without a rule is no way around them", async () => {
  const tokens = [{ name: "ci", token: callerToken, clusters: ["blue"] }];
  const args = ["-caller-tokens", JSON.stringify(tokens)];
  await withCertificates(args, async ({ status, argocd }) => {
    equal(await status(argocd, "blue"), 401);
    equal(await status(argocd, "blue", [bearer(callerToken)]), 200);
    equal(await status(argocd, "red", [bearer(callerToken)]), 403);
  });
});

Deno.test("with rules and tokens, a token decides where there is one", async () => {
  const tokens = [{ name: "ci", token: callerToken, clusters: ["red"] }];
  const rules = [{ name: "argocd", clusters: ["blue"] }];
  const args = [
    ...["-caller-tokens", JSON.stringify(tokens)],
    ...["-caller-certificates", JSON.stringify(rules)],
  ];
  await withCertificates(args, async ({ status, argocd, spiffe }) => {
    equal(await status(argocd, "blue"), 200);
    equal(await status(argocd, "blue", [bearer(callerToken)]), 403);
    equal(await status(argocd, "blue", [bearer("a-token-of-nobody-0000000")]), 401);
    equal(await status(spiffe, "red"), 401);
    equal(await status(spiffe, "red", [bearer(callerToken)]), 502);
  });
});
