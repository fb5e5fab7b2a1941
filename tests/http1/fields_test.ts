import assert from "node:assert/strict";
import { endToEnd, keepsAlive, requestedUpgrade } from "../../lib/http1/fields.ts";
import { type Field, field } from "../../lib/http1/head.ts";

/** Fields from `Name: value` lines. */
function fieldsOf(...lines: string[]): Field[] {
  return lines.map((line) => {
    const colon = line.indexOf(": ");
    return field(line.slice(0, colon), line.slice(colon + 2));
  });
}

function linesOf(fields: readonly Field[]): string[] {
  return fields.map(({ name, value }) => `${name}: ${value}`);
}

/** A request whose fields these lines are. */
function request(minor: number, ...lines: string[]) {
  return { method: "GET", target: "/", minor, fields: fieldsOf(...lines) };
}

Deno.test("endToEnd keeps order, spelling and repeats", () => {
  const lines = ["B: 1", "a: 2", "B: 3", "SET-cookie: x", "Set-Cookie: y"];
  assert.deepEqual(linesOf(endToEnd(fieldsOf(...lines))), lines);
});

Deno.test("endToEnd drops the fields of one connection in any spelling", () => {
  const lines = [
    "Connection: close",
    "KEEP-ALIVE: timeout=5",
    "proxy-connection: keep-alive",
    "Te: trailers",
    "Transfer-Encoding: chunked",
    "Upgrade: websocket",
    "Trailer: X",
    "Proxy-Authenticate: Basic",
    "Proxy-Authorization: Basic x",
    "Accept: */*",
  ];
  assert.deepEqual(linesOf(endToEnd(fieldsOf(...lines))), ["Accept: */*"]);
});

Deno.test("endToEnd drops what Connection names, in any of its lines and any case", () => {
  const lines = [
    "Connection: X-One, keep-alive",
    "connection: x-TWO ,",
    "X-One: 1",
    "x-two: 2",
    "X-Three: 3",
  ];
  assert.deepEqual(linesOf(endToEnd(fieldsOf(...lines))), ["X-Three: 3"]);
});

Deno.test("endToEnd keeps the fields without which the message would mean something else", () => {
  const lines = [
    "Host: a",
    "Content-Length: 1",
    "Content-Type: text/plain",
    "Content-Encoding: gzip",
    "Impersonate-User: somebody",
  ];
  const named =
    "Connection: host, content-length, content-type, content-encoding, Impersonate-User";
  assert.deepEqual(linesOf(endToEnd(fieldsOf(named, ...lines))), lines);
});

Deno.test("requestedUpgrade gives the protocol only when Connection asks for the change", () => {
  const cases: [string | undefined, number, string[]][] = [
    ["websocket", 1, ["Connection: Upgrade", "Upgrade: websocket"]],
    ["SPDY/3.1", 1, ["connection: keep-alive, upgrade", "upgrade: SPDY/3.1"]],
    [undefined, 1, ["Upgrade: websocket"]],
    [undefined, 1, ["Connection: Upgrade"]],
    [undefined, 1, ["Connection: upgraded", "Upgrade: websocket"]],
    [undefined, 0, ["Connection: Upgrade", "Upgrade: websocket"]],
  ];
  for (const [expected, minor, lines] of cases) {
    assert.equal(requestedUpgrade(request(minor, ...lines)), expected, lines.join(" | "));
  }
});

Deno.test("keepsAlive holds for HTTP/1.1 unless Connection says close", () => {
  const cases: [boolean, number, string[]][] = [
    [true, 1, []],
    [true, 1, ["Connection: keep-alive"]],
    [false, 1, ["Connection: close"]],
    [false, 1, ["Connection: Keep-Alive, CLOSE"]],
    [false, 0, []],
    [false, 0, ["Connection: keep-alive"]],
  ];
  for (const [expected, minor, lines] of cases) {
    assert.equal(keepsAlive(request(minor, ...lines)), expected, `1.${minor} ${lines}`);
  }
});
