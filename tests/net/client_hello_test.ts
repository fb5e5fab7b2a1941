import { deepEqual, equal } from "node:assert/strict";
import { once } from "node:events";
import { Duplex } from "node:stream";
import { connect } from "node:tls";
import { concat, encodeLatin1 } from "../../lib/bytes/bytes.ts";
import {
  type ClientHelloResult,
  maxClientHelloBytes,
  readClientHello,
} from "../../lib/net/client_hello.ts";
import { helloMessage, records, vector } from "../support/client_hello.ts";
import { within } from "../support/deadline.ts";

const hello = helloMessage({ serverName: "App.Example.com", alpn: ["h2", "http/1.1"] });
const expected: ClientHelloResult = {
  kind: "hello",
  hello: { serverName: "app.example.com", alpn: ["h2", "http/1.1"] },
};

Deno.test("readClientHello reads a name and protocols from records of any size, with bytes behind", () => {
  for (const size of [1, 2, 5, hello.length - 1, hello.length, 16_384]) {
    const bytes = records(hello, size);
    deepEqual(readClientHello(bytes), expected, `records of ${size}`);
    deepEqual(readClientHello(concat(bytes, encodeLatin1("more"))), expected);
    for (let end = 0; end < bytes.length; end++) {
      const result = readClientHello(bytes.subarray(0, end));
      equal(result.kind, "incomplete", `${end} of ${bytes.length}`);
    }
  }
});

Deno.test("readClientHello reads what a real client sends", async () => {
  const pieces: Uint8Array[] = [];
  const socket = new Duplex({
    read() {},
    write(bytes, _encoding, done) {
      pieces.push(bytes);
      done();
      socket.emit("sent");
    },
  });
  const client = connect({ socket, servername: "app.example.com", ALPNProtocols: ["h2"] });
  client.on("error", () => {});
  await within(once(socket, "sent"), "the ClientHello");
  deepEqual(readClientHello(pieces.reduce(concat)), {
    kind: "hello",
    hello: { serverName: "app.example.com", alpn: ["h2"] },
  });
  client.destroy();
});

Deno.test("readClientHello reads a hello over 16 KiB, as one with large key shares is", () => {
  const large = helloMessage({ serverName: "a.b", extensions: [[51, new Uint8Array(40_000)]] });
  deepEqual(readClientHello(records(large, 16_384)), {
    kind: "hello",
    hello: { serverName: "a.b", alpn: [] },
  });
});

Deno.test("readClientHello takes the outer name of an encrypted hello, and none where there is none", () => {
  const encrypted = helloMessage({
    serverName: "public.example",
    extensions: [[0xfe0d, new Uint8Array(200)]],
  });
  deepEqual(readClientHello(records(encrypted, 16_384)), {
    kind: "hello",
    hello: { serverName: "public.example", alpn: [] },
  });
  deepEqual(readClientHello(records(helloMessage({}), 16_384)), {
    kind: "hello",
    hello: { serverName: undefined, alpn: [] },
  });
});

Deno.test("readClientHello refuses what two readers could take for different hellos", () => {
  const list = (...names: string[]) =>
    vector(
      2,
      names.map((name) => concat(new Uint8Array([0]), vector(2, encodeLatin1(name)))).reduce(
        concat,
      ),
    );
  const cases: Record<string, Uint8Array> = {
    "two extensions of names": helloMessage({ serverName: "a", extensions: [[0, list("b")]] }),
    "two names": helloMessage({ extensions: [[0, list("a", "b")]] }),
    "bytes behind the names": helloMessage({
      extensions: [[0, concat(list("a"), new Uint8Array(1))]],
    }),
    "a name that is none": helloMessage({ serverName: "a\0b" }),
    "a name with a slash": helloMessage({ serverName: "a/b" }),
    "an empty name": helloMessage({ serverName: "" }),
    "a name too long": helloMessage({ serverName: "a".repeat(256) }),
    "an empty protocol": helloMessage({ alpn: [""] }),
    "another message": concat(new Uint8Array([2]), hello.subarray(1)),
    "a message that ends too early": concat(new Uint8Array([1]), vector(3, hello.subarray(4, 60))),
    "bytes behind the extensions": concat(
      new Uint8Array([1]),
      vector(3, concat(hello.subarray(4), new Uint8Array(1))),
    ),
  };
  for (const [name, message] of Object.entries(cases)) {
    deepEqual(
      readClientHello(records(message, 16_384)),
      { kind: "invalid", reason: "malformed" },
      name,
    );
  }
});

Deno.test("readClientHello refuses at once what is no TLS, and what is too long", () => {
  const http = encodeLatin1("GET / HTTP/1.1\r\n\r\n");
  deepEqual(readClientHello(http), { kind: "invalid", reason: "not_tls" });
  deepEqual(readClientHello(http.subarray(0, 1)), { kind: "invalid", reason: "not_tls" });
  const tooLong = { kind: "invalid", reason: "too_long" };
  deepEqual(readClientHello(new Uint8Array([22, 3, 1, 0, 4, 1, 1, 0, 0])), tooLong);
  // Records of a byte each: the headers count too.
  const slow = records(helloMessage({ extensions: [[51, new Uint8Array(12_000)]] }), 1);
  equal(readClientHello(slow.subarray(0, maxClientHelloBytes)).kind, "incomplete");
  deepEqual(readClientHello(slow.subarray(0, maxClientHelloBytes + 6)), tooLong);
  deepEqual(readClientHello(new Uint8Array([22, 3, 1, 0, 0])), {
    kind: "invalid",
    reason: "malformed",
  });
  deepEqual(readClientHello(new Uint8Array([22, 3, 1, 0x40, 1])), {
    kind: "invalid",
    reason: "malformed",
  });
});
