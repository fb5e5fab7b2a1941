/** Handshakes with the relay that fail: what the log and the metrics say, and what is left open. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:tls";
import { within } from "../support/deadline.ts";
import { startRelay } from "../support/programs.ts";
import { openConnection, splitAddress } from "../support/raw_connection.ts";
import { Authority, runOpenssl, withFolder } from "../support/certificates.ts";

/** Until a relay gives a handshake up, with time to spare. */
const givenUpMs = 30_000;

Deno.test("a failed TLS handshake has a log line and a count, with peer and reason", async (t) => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const foreign = await Authority.create(folder, "foreign");
    const server = await own.issue("server", "IP:127.0.0.1");
    const caller = await own.issue("caller", "DNS:caller");
    const stranger = await foreign.issue("caller", "DNS:caller");
    await using relay = await startRelay({
      clusters: [{ id: "blue", token: "token-0123456789abcdef", targetAddr: "127.0.0.1:1" }],
      args: [
        ...["-tls-cert", server.certPath, "-tls-key", server.keyPath],
        ...["-tls-client-ca", own.caPath, "-log-level", "debug"],
        ...["-health-addr", "127.0.0.1:0"],
      ],
    });
    const address = relay.publicAddress;
    // These two are given up after 10 s, while the others come and go.
    await using silent = await openConnection(address);
    await using stuck = await openConnection(address);
    await stuck.write(new Uint8Array([22, 3, 1, 1, 0, 1]));

    const openssl = (...args: readonly string[]) =>
      runOpenssl(["s_client", "-connect", address, "-brief", ...args]);
    const shown = ["-cert", caller.certPath, "-key", caller.keyPath];
    const cases = {
      no_certificate: () => openssl(),
      bad_certificate: () => openssl("-cert", stranger.certPath, "-key", stranger.keyPath),
      peer_alert: () => openssl(...shown, "-CAfile", foreign.caPath, "-verify_return_error"),
      incompatible: () => openssl(...shown, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"),
      not_tls: async () => {
        await using connection = await openConnection(address);
        await connection.write("GET / HTTP/1.1\r\nHost: relay\r\n\r\n");
        await within(connection.reader.readToEnd(), "the connection to end");
      },
    };
    for (const [reason, attempt] of Object.entries(cases)) {
      await t.step(reason, async () => {
        await attempt();
        const line = await relay.waitForLog((line) =>
          line.message === "TLS handshake failed" && line.reason === reason
        );
        deepEqual([line.level, line.peer], ["info", "127.0.0.1"]);
        match(String(line.detail), /./);
      });
    }
    for (
      const [reason, connection, level] of [
        ["silent", silent, "debug"],
        ["timeout", stuck, "info"],
      ] as const
    ) {
      await t.step(`${reason}: the connection is closed as well`, async () => {
        await within(connection.reader.readToEnd(), "the connection to end", givenUpMs);
        const line = await relay.waitForLog((line) =>
          line.message === "TLS handshake failed" && line.reason === reason
        );
        deepEqual([line.level, line.peer], [level, "127.0.0.1"]);
      });
    }
    await t.step("others are served meanwhile, and the metrics have each once", async () => {
      const socket = connect({
        ...splitAddress(address),
        ca: await Deno.readTextFile(own.caPath),
        cert: await Deno.readTextFile(caller.certPath),
        key: await Deno.readTextFile(caller.keyPath),
      });
      await within(once(socket, "secureConnect"), "a handshake");
      socket.destroy();
      const { address: health } = await relay.waitForLog(({ listener }) => listener === "health");
      const text = await (await fetch(`http://${health}/metrics`)).text();
      for (const reason of [...Object.keys(cases), "silent", "timeout"]) {
        const line = `culvert_tls_handshake_failures_total{reason="${reason}"} 1`;
        ok(text.includes(`\n${line}\n`), `${line} is missing`);
      }
      equal(text.match(/^culvert_tls_handshake_failures_total\{/gm)?.length, 7);
      for (const [name, path] of [["tls-cert", server.certPath], ["tls-client-ca", own.caPath]]) {
        const { stdout } = await runOpenssl(["x509", "-in", path!, "-noout", "-enddate"]);
        const seconds = Date.parse(stdout.trim().replace("notAfter=", "")) / 1000;
        const line = `culvert_certificate_not_after_timestamp_seconds{name="${name}"} ${seconds}`;
        ok(text.includes(`\n${line}\n`), `${line} is missing`);
        const { option, days } = await relay.waitForLog((line) =>
          line.message === "A certificate expires soon" && line.option === name
        );
        deepEqual([option, days], [name, 1]);
      }
    });
  });
});
