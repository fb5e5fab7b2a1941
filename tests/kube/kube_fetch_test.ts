import assert from "node:assert/strict";
import { certificatesOnly } from "../../lib/config/pem.ts";
import { kubeFetch } from "../../lib/runtime/deno/kube_fetch.ts";
import { loopbackCertificate, withFolder } from "../support/certificates.ts";

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

Deno.test("a pipe with a token is read once, for all requests", async () => {
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) => new Response(request.headers.get("authorization")),
  );
  await withFolder(async (folder) => {
    const path = `${folder}/token`;
    assert.ok((await new Deno.Command("mkfifo", { args: [path] }).output()).success);
    const write = (token: string) =>
      new Deno.Command("sh", { args: ["-c", `printf ${token} >"$1"`, "sh", path] }).spawn();
    const writer = write("one");
    const { fetch, close } = kubeFetch({
      server: `http://127.0.0.1:${server.addr.port}`,
      token: { path },
      namespace: "culvert",
      isInCluster: false,
    });
    const { signal } = new AbortController();
    const ask = async () =>
      await (await fetch("/api", { method: "GET", headers: {}, signal })).text();
    assert.equal(await ask(), "Bearer one");
    assert.ok((await writer.status).success);
    const other = write("two");
    assert.equal(await ask(), "Bearer one");
    assert.equal(await Deno.readTextFile(path), "two");
    assert.ok((await other.status).success);
    close();
  });
});

Deno.test("a token that no header takes is not quoted", async () => {
  const server = "http://127.0.0.1:1";
  for (const token of ["secret\nline", "secret\u2603", "secr\u00e8t"]) {
    const { fetch, close } = kubeFetch({
      ...{ server, token: { token }, namespace: "culvert", isInCluster: false },
    });
    const signal = new AbortController().signal;
    await assert.rejects(
      () => fetch("/api", { method: "GET", headers: {}, signal }),
      (error: Error) => /one line of visible ASCII/.test(error.message) && !/secr/.test(`${error}`),
    );
    close();
  }
});

Deno.test("a CA that is being written anew counts once it is whole", async () => {
  const { ca, cert, key } = await loopbackCertificate();
  await withFolder(async (folder) => {
    const path = `${folder}/ca.crt`;
    await using server = Deno.serve(
      // Each request opens a connection, on which the CA is looked at.
      { hostname: "127.0.0.1", port: 0, cert, key, onListen() {} },
      () => new Response("ok", { headers: { connection: "close" } }),
    );
    const { fetch, close } = kubeFetch({
      server: `https://127.0.0.1:${server.addr.port}`,
      ca: { pem: certificatesOnly(ca), path },
      namespace: "culvert",
      isInCluster: true,
    }, 0);
    const ask = async () => {
      const signal = new AbortController().signal;
      return await (await fetch("/api", { method: "GET", headers: {}, signal })).text();
    };
    for (const text of ["", ca.slice(0, ca.length / 2), ca]) {
      await Deno.writeTextFile(path, text);
      assert.equal(await ask(), "ok", `${text.length} characters`);
    }
    await Deno.remove(path);
    assert.equal(await ask(), "ok", "a file that is away");
    close();
  });
});
