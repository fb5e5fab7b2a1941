/** What a caller has begun and what becomes of it when its token is withdrawn or ends. */
import { equal, ok } from "node:assert/strict";
import { withFolder } from "../support/certificates.ts";
import { endOf, playing } from "../http/playing.ts";
import {
  CLUSTER,
  requestHead,
  type Script,
  tunnelled,
  untilEnd,
  withTunnel,
} from "../http/tunnel.ts";
import { latin1, readWireHead } from "../http/wire.ts";
import { within } from "../support/deadline.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import { audience, Issuer, issuerName, makeKey, sign } from "./issuer.ts";
import { bearer } from "./setup.ts";

const tokens = {
  leaving: "token-that-is-taken-away",
  staying: "token-that-is-left-alone",
  narrowed: "token-that-loses-clusters",
};
type Name = keyof typeof tokens;

const message = "Breaking off a request: its caller is no longer authorized";

/** The target's part of a watch: an answer that goes on and on. */
const watch: Script = async ({ connection }) => {
  await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n");
  await connection.closed;
};

/** The target's part of an exec session. */
const exec: Script = async ({ connection }) => {
  await connection.write(
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n",
  );
  await connection.closed;
};

interface Begun {
  readonly name: Name;
  readonly caller: RawConnection;
  readonly target: RawConnection;
}

Deno.test("a caller whose token is withdrawn loses its open watch and exec, and nobody else does", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/callers.json`;
    const put = async (entries: unknown[]): Promise<void> => {
      await Deno.writeTextFile(`${path}.new`, JSON.stringify(entries));
      await Deno.rename(`${path}.new`, path);
    };
    const entry = (name: Name, clusters = [CLUSTER]) => ({ name, token: tokens[name], clusters });
    await put([entry("leaving"), entry("staying"), entry("narrowed")]);
    await withTunnel(async (tunnel) => {
      const begin = async (name: Name, script: Script, fields: string[]): Promise<Begun> => {
        const target = `/${name}/${script === exec ? "exec" : "watch"}`;
        const request = requestHead("GET", tunnelled(target), [bearer(tokens[name]), ...fields]);
        const pair = await playing(tunnel, target, script, (caller) => caller.write(request));
        await within(readWireHead(pair.caller.reader), "the answer's head");
        return { name, caller: pair.caller, target: pair.connection };
      };
      const both = async (name: Name): Promise<Begun[]> => [
        await begin(name, watch, []),
        await begin(name, exec, ["Connection: Upgrade", "Upgrade: SPDY/3.1"]),
      ];
      const staying = await both("staying");
      const leaving = [...await both("leaving"), ...await both("narrowed")];

      await put([entry("staying"), entry("narrowed", ["elsewhere"])]);
      for (const { name, caller, target } of leaving) {
        ok((await untilEnd(caller)).isBroken, `${name}: the caller's connection breaks`);
        await endOf(target);
      }
      const lines = await tunnel.relay.waitForLogs(4, (line) => line.message === message);
      ok(lines.every(({ caller }) => caller === "leaving" || caller === "narrowed"));
      for (const { caller, target } of staying) {
        equal(target.isClosed, false);
        await target.write(latin1("1\r\n!\r\n"));
        const more = await within(caller.reader.readExactly(6), "what comes afterwards");
        ok(more.length === 6);
        await caller[Symbol.asyncDispose]();
      }
      const log = await tunnel.relay.completeLog();
      equal(log.filter((line) => line.message === message).length, 4);
      const ended = log.filter(({ code }) => code === "caller_revoked");
      equal(ended.length, 4, "each has its line as a request");
    }, { relayArgs: ["-caller-tokens", path] });
  });
});

Deno.test("a caller's open watch and exec end when its JWT does, and no earlier", async () => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  const rules = JSON.stringify([{ claim: "sub", value: "*", clusters: ["*"] }]);
  const relayArgs = [
    ...["-caller-jwt-issuer", issuerName, "-caller-jwt-audience", audience],
    ...["-caller-jwks-url", issuer.url, "-caller-jwt-rules", rules],
  ];
  await withTunnel(async (tunnel) => {
    const begin = async (name: string, token: string, script: Script, fields: string[] = []) => {
      const target = `/${name}`;
      const request = requestHead("GET", tunnelled(target), [bearer(token), ...fields]);
      const pair = await playing(tunnel, target, script, (caller) => caller.write(request));
      await within(readWireHead(pair.caller.reader), "the answer's head");
      return pair;
    };
    const lasting = await begin("lasting", await sign(key), watch);
    // The leeway of 30 s ends some seconds from now.
    const expiresIn = -24;
    const endMs = (Math.floor(Date.now() / 1000) + expiresIn + 30) * 1000;
    const token = await sign(key, { sub: "brief" }, { expiresIn });
    const brief = [
      await begin("watch", token, watch),
      await begin("exec", token, exec, ["Connection: Upgrade", "Upgrade: SPDY/3.1"]),
    ];
    for (const { caller, connection } of brief) {
      ok((await untilEnd(caller)).isBroken);
      ok(Date.now() >= endMs, "not before its time");
      await endOf(connection);
    }
    equal(lasting.connection.isClosed, false);
    await lasting.caller[Symbol.asyncDispose]();
    const ended = (await tunnel.relay.completeLog()).filter(({ code }) =>
      code === "caller_revoked"
    );
    equal(ended.map(({ caller }) => caller).join(), "brief,brief");
  }, { relayArgs });
});

Deno.test("a caller's open watch ends when its token does", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/tokens.json`;
    const write = (expires: Date) => {
      const entries = [{ name: "brief", token: tokens.leaving, clusters: ["*"], expires }];
      return Deno.writeTextFile(path, JSON.stringify(entries));
    };
    await write(new Date("2099-01-01T00:00:00Z"));
    await withTunnel(async (tunnel) => {
      // Its time begins when the programs have started.
      const expires = new Date(Date.now() + 8_000);
      await write(expires);
      await tunnel.relay.waitForLog(({ message }) => message === "Configuration reloaded");
      const request = requestHead("GET", tunnelled("/watch"), [bearer(tokens.leaving)]);
      const pair = await playing(tunnel, "/watch", watch, (caller) => caller.write(request));
      await within(readWireHead(pair.caller.reader), "the answer's head");
      ok((await untilEnd(pair.caller)).isBroken);
      ok(Date.now() >= expires.getTime(), "not before its time");
      await endOf(pair.connection);
    }, { relayArgs: ["-caller-tokens", path] });
  });
});
