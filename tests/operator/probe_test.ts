import assert from "node:assert/strict";
import { probeTargets } from "../../lib/runtime/deno/relay_fetch.ts";

/** A health listener that answers with this body. @returns its port */
function listen(body: () => BodyInit): AsyncDisposable & { readonly port: number } {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response(body()),
  );
  return {
    port: server.addr.port,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

Deno.test("an agent tells what it serves", async () => {
  await using agent = listen(() => JSON.stringify({ hash: "abc" }));
  assert.deepEqual(await probeTargets("127.0.0.1", agent.port), { hash: "abc" });
});

Deno.test("an answer without length and end is given up after its first mebibyte", async () => {
  let sent = 0;
  const piece = new Uint8Array(64 * 1024).fill(" ".charCodeAt(0));
  const endless = () =>
    new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += piece.length;
        if (sent > 64 * 1024 * 1024) return controller.close();
        controller.enqueue(piece);
      },
    });
  await using agent = listen(endless);
  assert.equal(await probeTargets("127.0.0.1", agent.port), undefined);
  assert.ok(sent < 32 * 1024 * 1024, `${sent} bytes were read`);
});
