import assert from "node:assert/strict";
import { kubeFetch } from "../../lib/runtime/deno/kube_fetch.ts";

Deno.test("a ServiceAccount's token that is renewed on disk is in the next request", async () => {
  const path = await Deno.makeTempFile();
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) => new Response(request.headers.get("authorization")),
  );
  const { fetch, close } = kubeFetch({
    server: `http://127.0.0.1:${server.addr.port}`,
    token: { path },
    namespace: "culvert",
    isInCluster: true,
  });
  const seen = async () => {
    const signal = new AbortController().signal;
    return await (await fetch("/api", { method: "GET", headers: {}, signal })).text();
  };
  await Deno.writeTextFile(path, "one\n");
  assert.equal(await seen(), "Bearer one");
  await Deno.writeTextFile(path, "two\n");
  assert.equal(await seen(), "Bearer two");
  await Deno.writeTextFile(path, "");
  assert.equal(await seen(), "Bearer two", "a file that is about to be written");
  await Deno.remove(path);
  assert.equal(await seen(), "Bearer two", "a file that is away");
  close();
});
