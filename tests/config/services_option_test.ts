import assert from "node:assert/strict";
import { parseRelayOptions, type RelayOptions } from "../../lib/config/relay_options.ts";
import { refusalOf, ScratchDirectory } from "./support.ts";

const clusters = JSON.stringify([{ id: "dev", token: "dev-token-0123456789", targetAddr: "a:1" }]);

const entry = {
  name: "app",
  hostnames: ["app.example.com"],
  cluster: "dev",
  target: "app",
  policy: "public",
};

function run(...argv: string[]): RelayOptions {
  const parsed = parseRelayOptions([...argv, "-internal-addr", "127.0.0.1:0"], {
    CLUSTERS: clusters,
  });
  assert.equal(parsed.kind, "run");
  return (parsed as { options: RelayOptions }).options;
}

Deno.test("--services takes a file, a directory of files, and JSON or YAML itself", () => {
  using scratch = new ScratchDirectory();
  const json = JSON.stringify({ services: [entry] });
  const path = scratch.write("services.yaml", `services:\n  - ${JSON.stringify(entry)}\n`);
  scratch.write("notes.txt", "not a file of services");
  scratch.write(".hidden.json", "nor this one");
  for (const given of [json, path, scratch.path, `services: [${JSON.stringify(entry)}]\n`]) {
    const { services, warnings } = run("-services", given);
    assert.deepEqual(services?.services.map(({ name }) => name), ["app"]);
    assert.match(warnings.join(), /policy: "public" lets everybody in/);
  }
  assert.equal(run("-services", json).services?.source, undefined);
  assert.deepEqual(
    run("-services", scratch.path).services?.source?.files.map((file) => file.path),
    [
      path,
    ],
  );
});

Deno.test("--services is refused with file, entry and key, before anything starts", () => {
  using scratch = new ScratchDirectory();
  const { policy: _policy, ...open } = entry;
  const path = scratch.write("services.json", JSON.stringify({ services: [open] }));
  assert.equal(
    refusalOf(() => run("-services", path)),
    `Services file ${
      JSON.stringify(path)
    }, entry 1 ("app"): policy: is missing: it must be "public", ` +
      "which lets everybody in, or the name of a policy",
  );
  const missing = `${scratch.path}/absent.yaml`;
  assert.match(refusalOf(() => run("-services", missing)), /absent\.yaml", which .*no such file/);
  using empty = new ScratchDirectory();
  assert.match(
    refusalOf(() => run("-services", empty.path)),
    /has no \*\.yaml, \*\.yml or \*\.json/,
  );
});

Deno.test("a service of a cluster that nobody has is named in a warning", () => {
  const services = JSON.stringify({ services: [{ ...entry, cluster: "ghost" }] });
  const { warnings } = run("-services", services);
  assert.match(warnings.join("\n"), /Service "app" is for cluster "ghost", which is not among/);
});

Deno.test("--web-addr without certificates is for loopback, or for proxies that are trusted", () => {
  assert.equal(run("-web-addr", "127.0.0.1:8081").webAddr?.port, 8081);
  assert.equal(run("-web-addr", "[::1]:8081").webAddr?.port, 8081);
  assert.equal(run("-web-addr", ":8081", "-trusted-proxies", "10.0.0.0/8").webAddr?.port, 8081);
  for (const address of [":8081", "0.0.0.0:8081", "192.0.2.1:8081", "relay.example.com:8081"]) {
    assert.match(
      refusalOf(() => run("-web-addr", address)),
      /without certificates .*listen on loopback/,
    );
  }
  assert.match(
    refusalOf(() => run("-web-addr", "127.0.0.1:8443", "-addr", "127.0.0.1:8443")),
    /--addr and --web-addr are both "127\.0\.0\.1:8443"/,
  );
});

Deno.test("--web-relay-host needs the web listener, and is no service's", () => {
  const listener = ["-web-addr", "127.0.0.1:8081"];
  assert.match(
    refusalOf(() => run("-web-relay-host", "relay.example.com")),
    /--web-relay-host needs --web-addr as well/,
  );
  assert.match(
    refusalOf(() => run(...listener, "-web-relay-host", "relay.example.com:8443")),
    /must be a name such as relay\.example\.com, without a port/,
  );
  const services = JSON.stringify({ services: [{ ...entry, hostnames: ["*.example.com"] }] });
  assert.match(
    refusalOf(() =>
      run(...listener, "-web-relay-host", "Relay.Example.com", "-services", services)
    ),
    /"\*\.example\.com" covers the relay's own name "relay\.example\.com"/,
  );
});
