import assert from "node:assert/strict";
import { FrameType } from "../../lib/protocol/frame.ts";
import { startRelay } from "../support/programs.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { readHead, readResponse, statusOf } from "../support/raw_http.ts";
import { blocks, table } from "./markdown.ts";

const page = "docs/protocol.md";

/** The two `http` blocks: a handshake and its answer, as they go over the wire. */
function handshake(): { request: string; answer: string } {
  const [request, answer] = blocks(page).filter(({ info }) => info === "http")
    .map(({ text }) => text.replaceAll("\n", "\r\n") + "\r\n");
  assert.ok(request !== undefined && answer !== undefined);
  return { request, answer };
}

function tokenOf(request: string): string {
  const token = /^Authorization: Bearer (\S+)\r$/m.exec(request)?.[1];
  assert.ok(token);
  return token;
}

const { request, answer } = handshake();
const clusters = [{ id: "docs", token: tokenOf(request), targetAddr: "127.0.0.1:1" }];

function without(field: string): string {
  const lines = request.split("\r\n").filter((line) => !line.startsWith(`${field}:`));
  assert.equal(lines.length, request.split("\r\n").length - 1, field);
  return lines.join("\r\n");
}

function withField(line: string): string {
  return request.replace("\r\n\r\n", `\r\n${line}\r\n\r\n`);
}

Deno.test("protocol.md: the handshake goes as the text says", async (t) => {
  await using relay = await startRelay({ clusters });

  async function connect(bytes: string): Promise<RawConnection> {
    const connection = await openConnection(relay.publicAddress);
    await connection.write(bytes);
    return connection;
  }

  await t.step("the example is answered as shown, and Settings come first", async () => {
    await using connection = await connect(request);
    const head = await readHead(connection.reader);
    assert.equal(new TextDecoder().decode(head.bytes), answer);
    // A final, binary, unmasked WebSocket frame of 126 to 65535 bytes; then the tunnel's frame.
    const [first, length, , , type] = await connection.reader.readExactly(5);
    assert.deepEqual([first, length, type], [0x82, 126, FrameType.Settings]);
  });

  await t.step("offers of a subprotocol or an extension are not agreed to", async () => {
    for (
      const offer of [
        "Sec-WebSocket-Protocol: a, b",
        "Sec-WebSocket-Extensions: permessage-deflate",
      ]
    ) {
      await using connection = await connect(withField(offer));
      const head = await readHead(connection.reader);
      assert.equal(new TextDecoder().decode(head.bytes), answer, offer);
    }
  });

  const refused: Record<string, string[]> = {
    "403": [withField("Origin: https://example.com"), withField("Origin: null")],
    "401": [
      without("Authorization"),
      request.replace(/Bearer \w/, "Bearer x"),
      request.replace("Bearer", "Basic"),
    ],
    "426": [
      without("Upgrade"),
      without("Sec-WebSocket-Key"),
      request.replace("Version: 13", "Version: 8"),
    ],
  };

  await t.step("every status of the table has a case", () => {
    const rows = table(page, ["status", "when", "what an agent should do"]);
    // 503 comes only to connections that were there before the relay began to stop.
    // The second 403, for a certificate, and 429 are in tests/programs/refused_agents_test.ts.
    assert.deepEqual(
      rows.map(({ status }) => status),
      ["503", "403", "401", "403", "429", "426", "101"],
    );
  });

  for (const [status, requests] of Object.entries(refused)) {
    await t.step(`${status} is answered`, async () => {
      for (const bytes of requests) {
        await using connection = await connect(bytes);
        const head = await readResponse(connection.reader);
        assert.equal(statusOf(head), Number(status), bytes);
      }
    });
  }
});
