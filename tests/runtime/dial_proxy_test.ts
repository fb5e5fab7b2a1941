import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { dialThroughProxy, type ProxyAddress } from "../../lib/runtime/node/dial_proxy.ts";
import { dialRelay } from "../../lib/runtime/node/dial_relay.ts";
import { ConnectProxy, type ProxyAnswer } from "../support/connect_proxy.ts";
import { eventually, within } from "../support/deadline.ts";
import { splitAddress } from "../support/raw_connection.ts";
import { startRawTarget } from "../support/target.ts";

const authority = "relay.example.com:443";

function addressOf({ address }: { address: string }): ProxyAddress {
  const { host: hostname, port } = splitAddress(address);
  return { isTls: false, hostname, port };
}

const never = new AbortController().signal;

Deno.test("dialThroughProxy: the bytes behind CONNECT are the host's, in both directions", async () => {
  await using host = await startRawTarget(async (connection) => {
    const greeting = await connection.reader.readExactly(5);
    await connection.write(`${new TextDecoder().decode(greeting)} too`);
  });
  await using proxy = await ConnectProxy.start({ upstream: host.address });
  const socket = await within(dialThroughProxy(addressOf(proxy), authority, never), "a connection");
  socket.resume().write("hello");
  const [answer] = await within(once(socket, "data"), "the host's answer");
  equal(new TextDecoder().decode(answer), "hello too");
  const closed = once(socket, "close");
  socket.destroy();
  await closed;
  deepEqual(proxy.heads, [`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`]);
});

Deno.test("dialThroughProxy: credentials go to the proxy", async () => {
  await using host = await startRawTarget(async (connection) => {
    await connection.reader.readToEnd();
  });
  const authorization = "Basic dXNlcjpwYXNz";
  await using proxy = await ConnectProxy.start({ upstream: host.address, authorization });
  const address = { ...addressOf(proxy), authorization };
  const socket = await within(dialThroughProxy(address, authority, never), "a connection");
  socket.destroy();
  match(proxy.heads[0]!, /\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n/);
});

Deno.test("dialThroughProxy: IPv6 on both sides", async () => {
  await using host = await startRawTarget(async (connection) => {
    await connection.reader.readToEnd();
  });
  await using proxy = await ConnectProxy.start({ upstream: host.address, host: "::1" });
  const { port } = new URL(`http://${proxy.address}`);
  const address = { isTls: false, hostname: "::1", port: Number(port) };
  const socket = await within(dialThroughProxy(address, "[fd00::1]:8443", never), "a connection");
  socket.destroy();
  match(proxy.heads[0]!, /^CONNECT \[fd00::1\]:8443 HTTP\/1\.1\r\nHost: \[fd00::1\]:8443\r\n/);
});

Deno.test("dialThroughProxy: the head may come in pieces, from HTTP/1.0 and without a reason", async () => {
  for (const head of ["HTTP/1.0 200\r\n\r\n", "HTTP/1.1 299 \r\nVia: 1.1 x\r\n\r\n"]) {
    const server = createServer(async (socket) => {
      await once(socket, "data");
      for (const char of head) {
        socket.write(char);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      socket.end("hello");
    });
    server.listen({ host: "127.0.0.1", port: 0 });
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const address = { isTls: false, hostname: "127.0.0.1", port };
    const socket = await within(dialThroughProxy(address, authority, never), "a connection");
    const [bytes] = await within(once(socket.resume(), "data"), "the host's bytes");
    equal(new TextDecoder().decode(bytes), "hello");
    socket.destroy();
    const closed = once(server, "close");
    server.close();
    await closed;
  }
});

const status = (line: string): ProxyAnswer => ({ says: `HTTP/1.1 ${line}\r\n\r\n` });

Deno.test("dialThroughProxy says what is wrong with a proxy, and leaves no connection", async (t) => {
  const notHttp = "The proxy's answer is not HTTP/1.1: is it an HTTP proxy?";
  const cases: readonly (readonly [string, ProxyAnswer, string])[] = [
    [
      "407",
      status("407 Proxy Authentication Required"),
      "The proxy asks for credentials (status 407): give them as http://USER:PASSWORD@HOST:PORT",
    ],
    [
      "403",
      status("403 Forbidden"),
      `The proxy does not allow connections to ${authority} (status 403)`,
    ],
    ["502", status("502 Bad Gateway"), `The proxy could not connect to ${authority} (status 502)`],
    ["504", status("504 "), `The proxy could not connect to ${authority} (status 504)`],
    ["400", status("400 Bad"), `The proxy refused CONNECT to ${authority} (status 400)`],
    ["101", status("101 Switching"), `The proxy refused CONNECT to ${authority} (status 101)`],
    ["301", status("301 Moved"), `The proxy refused CONNECT to ${authority} (status 301)`],
    ["garbage", { says: "SSH-2.0-OpenSSH_9.6\r\n" }, notHttp],
    ["HTTP/2", { says: "HTTP/2 200\r\n\r\n" }, notHttp],
    ["no status", { says: "HTTP/1.1 OK\r\n\r\n" }, notHttp],
    ["four digits", { says: "HTTP/1.1 2000 OK\r\n\r\n" }, notHttp],
    [
      "a TLS alert",
      { says: "\x15\x03\x03\x00\x02\x02\x46" },
      "The proxy speaks TLS: use https:// in its URL",
    ],
    [
      "an endless head",
      { says: `HTTP/1.1 200 OK\r\nX: ${"x".repeat(20_000)}` },
      "The proxy's answer is over 16384 bytes",
    ],
    [
      "lines that end with LF alone",
      { says: "HTTP/1.1 200 OK\n\n" },
      "The proxy's answer is malformed: Status line ends with LF alone or holds a bare CR",
    ],
    [
      "one line that ends with LF alone",
      { says: "HTTP/1.1 200 OK\r\nVia: 1.1 x\n\r\n" },
      "The proxy's answer is malformed: Header line holds a bare CR or LF",
    ],
    [
      "more than an answer",
      { says: "HTTP/1.1 200 OK\r\n\r\nhello" },
      "The proxy sent more than its answer",
    ],
    [
      "closing",
      "close",
      "The proxy closed the connection before it answered: it sent nothing more",
    ],
  ];
  await using proxy = await ConnectProxy.start();
  for (const [name, answer, message] of cases) {
    await t.step(name, async () => {
      proxy.answers.push(answer);
      const dialling = dialThroughProxy(addressOf(proxy), authority, never);
      await rejects(within(dialling, "a refusal"), { message });
      await eventually(() => proxy.openConnections === 0, "the connection to go");
    });
  }
  await t.step("407 for credentials that it got", async () => {
    proxy.answers.push(status("407 Proxy Authentication Required"));
    const address = { ...addressOf(proxy), authorization: "Basic QUFB" };
    await rejects(within(dialThroughProxy(address, authority, never), "a refusal"), {
      message: "The proxy does not take the credentials in its URL (status 407)",
    });
    await eventually(() => proxy.openConnections === 0, "the connection to go");
  });
});

Deno.test("dialThroughProxy: nobody there", async () => {
  const proxy = await ConnectProxy.start();
  const address = addressOf(proxy);
  await proxy[Symbol.asyncDispose]();
  await rejects(within(dialThroughProxy(address, authority, never), "a refusal"), {
    message: `Could not connect to the proxy: connect ECONNREFUSED ${proxy.address}`,
  });
});

Deno.test("dialThroughProxy: a proxy that never answers is given up with the signal", async () => {
  await using proxy = await ConnectProxy.start();
  proxy.answers.push("silence");
  const giveUp = new AbortController();
  const dialling = dialThroughProxy(addressOf(proxy), authority, giveUp.signal);
  const refused = rejects(within(dialling, "the end"), {
    message: "No answer from the proxy: that is enough",
  });
  await eventually(() => proxy.heads.length === 1, "the request");
  giveUp.abort(new Error("that is enough"));
  await refused;
  await eventually(() => proxy.openConnections === 0, "the connection to go");
});

Deno.test("dialRelay: one timeout for proxy, TLS and handshake", async (t) => {
  await using silent = await startRawTarget(async (connection) => {
    await connection.reader.readToEnd();
  });
  await using proxy = await ConnectProxy.start({ upstream: silent.address });
  const dial = (url: string, isThrough: boolean) =>
    dialRelay({
      ...{ url, token: "token", timeoutMs: 300 },
      ...(isThrough && { proxy: addressOf(proxy) }),
    }, never);
  await t.step("the proxy is silent", async () => {
    proxy.answers.push("silence");
    await rejects(within(dial("ws://relay.example.com/connect", true), "the end"), {
      message: "No answer from the proxy: gave up after 0.3 s",
    });
  });
  for (const scheme of ["ws", "wss"]) {
    await t.step(`the relay behind it is silent, ${scheme}`, async () => {
      await rejects(within(dial(`${scheme}://relay.example.com/connect`, true), "the end"), {
        message: "No answer from the relay: gave up after 0.3 s",
      });
    });
    await t.step(`the relay is silent, ${scheme}`, async () => {
      await rejects(within(dial(`${scheme}://${silent.address}/connect`, false), "the end"), {
        message: "No answer from the relay: gave up after 0.3 s",
      });
    });
  }
  await eventually(() => proxy.openConnections === 0, "the connections to go");
  ok(proxy.heads.length === 3);
});
