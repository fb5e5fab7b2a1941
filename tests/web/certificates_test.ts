/** Certificates of the web listener: which is shown to whom, and what becomes of changed files. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { once } from "node:events";
import { connect, type PeerCertificate, type TLSSocket } from "node:tls";
import { ConfigError } from "../../lib/config/config_error.ts";
import { CertificateChoice } from "../../lib/runtime/node/web/certificate_choice.ts";
import { WebCertificates } from "../../lib/runtime/node/web/web_certificates.ts";
import { Authority, withFolder } from "../support/certificates.ts";
import { eventually, within } from "../support/deadline.ts";
import { addPair, type WebListener, withWebListener } from "./setup.ts";

/** The common name of the certificate that a client is shown; undefined when the handshake fails. */
async function shownTo({ port, ca }: WebListener, servername: string): Promise<string | undefined> {
  const socket: TLSSocket = connect({
    ...{ port, host: "127.0.0.1", ca },
    ...servername && { servername },
    checkServerIdentity: () => undefined,
  });
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  socket.on("error", () => resolve(undefined));
  socket.on("close", () => resolve(undefined));
  socket.on("secureConnect", () => {
    const { subject } = socket.getPeerCertificate() as PeerCertificate;
    resolve(subject.CN as string);
  });
  try {
    return await within(promise, "a handshake");
  } finally {
    socket.destroy();
  }
}

function candidate(name: string, dnsNames: string[], notAfter: string, notBefore = "2020-01-01") {
  return { name, dnsNames, notBefore: new Date(notBefore), notAfter: new Date(notAfter) };
}

Deno.test("CertificateChoice prefers an exact name, then the latest end, and one that is valid", () => {
  const wild = candidate("wild", ["*.example.com"], "2040-01-01");
  const old = candidate("old", ["A.example.com"], "2030-01-01");
  const late = candidate("late", ["a.example.com", "b.example.com."], "2031-01-01");
  const future = candidate("future", ["a.example.com"], "2050-01-01", "2045-01-01");
  const choice = new CertificateChoice([wild, old, late, future], Date.parse("2026-01-01"));
  const hosts = ["a.example.com", "B.example.com", "c.example.com", "*.example.com"];
  deepEqual(hosts.map((host) => choice.for(host)?.name), ["late", "late", "wild", "wild"]);
  for (const host of ["example.com", "x.y.example.com", "com", "", "*.a.example.com"]) {
    equal(choice.for(host), undefined, host);
  }
  equal(choice.first?.name, "future");
  deepEqual(
    choice.contests.map(({ host, chosen, others }) => [
      host,
      chosen.name,
      others.map(({ name }) => name).toSorted(),
    ]),
    [["a.example.com", "late", ["future", "old"]]],
  );
});

Deno.test("The web listener shows each client the certificate for its name, and fails other names", async () => {
  const pairs = {
    one: "DNS:one.example.com",
    wild: "DNS:*.example.com",
    zone: "DNS:zone.test,DNS:localhost",
  };
  await withWebListener({ pairs }, async (listener) => {
    const names = ["one.example.com", "ONE.example.com", "two.example.com", "zone.test"];
    const shown = await Promise.all(names.map((name) => shownTo(listener, name)));
    deepEqual(shown, ["one", "one", "wild", "zone"]);
    equal(await shownTo(listener, "a.b.example.com"), undefined);
    equal(await shownTo(listener, "other.test"), undefined);
    equal(await shownTo(listener, ""), "one");
    deepEqual(listener.told, ["handshake unknown_name", "handshake unknown_name"]);
    equal(await shownTo(listener, "zone.test"), "zone");
  });
});

Deno.test("A request tells its app whether its host has the certificate that the client was shown", async () => {
  const pairs = { own: "DNS:localhost,DNS:*.example.com", other: "DNS:other.example.com" };
  await withWebListener({ pairs }, async (listener) => {
    using client = Deno.createHttpClient({
      caCerts: [listener.ca],
      http2: false,
      allowHost: true,
    });
    const shares = async (host: string) => {
      const url = `https://localhost:${listener.port}/`;
      const response = await fetch(url, { client, headers: { Host: host } });
      return (await response.json()).shares;
    };
    equal(await shares("localhost"), true);
    equal(await shares("any.example.com"), true);
    equal(await shares("other.example.com"), false);
    equal(await shares("unknown.test"), false);
  });
});

/** What a folder's certificates said while they were followed. */
function follow(certificates: WebCertificates) {
  const lines: string[] = [];
  const results: string[] = [];
  const write = (message: string, fields?: object) =>
    lines.push(`${message} ${JSON.stringify(fields)}`);
  const log = { debug: write, info: write, warn: write, error: write };
  certificates.follow({
    metrics: {
      configLoaded: () => {},
      configReloaded: (_source, result) => results.push(result),
    },
    log: log as never,
    replaced: () => lines.push("replaced"),
    intervalMs: 20,
  });
  return { lines, results };
}

Deno.test("Changed pairs are taken one by one, and one that cannot be used leaves what was in use", async (t) => {
  await withFolder(async (root) => {
    const authority = await Authority.create(root, "own");
    const folder = `${root}/pairs`;
    await Deno.mkdir(folder);
    await addPair({ authority, folder }, "one", "DNS:one.test");
    await addPair({ authority, folder }, "two", "DNS:two.test");
    const certificates = await WebCertificates.load(folder);
    const { lines, results } = follow(certificates);
    const shown = (host: string) => certificates.for(host)?.certPem;
    try {
      await t.step("a new pair", async () => {
        await addPair({ authority, folder }, "three", "DNS:three.test");
        await eventually(() => shown("three.test") !== undefined, "the new pair");
      });
      await t.step("a renewed one", async () => {
        const before = shown("one.test");
        await addPair({ authority, folder }, "one", "DNS:one.test");
        await eventually(() => shown("one.test") !== before, "the renewed pair");
        equal(shown("one.test"), await Deno.readTextFile(`${folder}/one.crt`));
      });
      for (
        const [name, change] of Object.entries({
          "a key of another certificate": () =>
            Deno.copyFile(`${folder}/one.key`, `${folder}/two.key`),
          "a key that is no key": () => Deno.writeTextFile(`${folder}/two.key`, "nothing"),
          "a certificate cut off": () => Deno.truncate(`${folder}/two.crt`, 100),
          "a key that is gone": () => Deno.remove(`${folder}/two.key`),
        })
      ) {
        await t.step(name, async () => {
          const before = shown("two.test");
          const count = results.length;
          await change();
          await eventually(() => results.length > count, "the refusal");
          equal(results.at(-1), "refused");
          match(
            lines.at(-1)!,
            /^Refused a web certificate; the previous one stays in use .*two\.(?:crt|key)/,
          );
          equal(shown("two.test"), before);
          ok(shown("one.test") && shown("three.test"));
        });
      }
      await t.step("both files gone", async () => {
        await Deno.remove(`${folder}/two.crt`);
        await eventually(() => shown("two.test") === undefined, "the pair to be dropped");
        match(lines.join("\n"), /Removed a web certificate whose files are gone .*"two"/);
      });
      await t.step("the folder gone", async () => {
        const count = results.length;
        await Deno.rename(folder, `${folder}-away`);
        await eventually(() => results.length > count, "the refusal");
        ok(shown("one.test"));
        await Deno.rename(`${folder}-away`, folder);
        await addPair({ authority, folder }, "four", "DNS:four.test");
        await eventually(() => shown("four.test") !== undefined, "the folder to be back");
      });
    } finally {
      await certificates.close();
    }
  });
});

Deno.test("A Secret that Kubernetes swaps is taken as a whole", async () => {
  await withFolder(async (root) => {
    const authority = await Authority.create(root, "own");
    const folder = `${root}/pairs`;
    const mount = `${folder}/app`;
    await Deno.mkdir(mount, { recursive: true });
    /** As a kubelet does it: a folder of its own, and a link that is renamed over the old one. */
    const swap = async (version: string, holder: string) => {
      const { certPath, keyPath } = await authority.issue(holder, "DNS:app.test");
      await Deno.mkdir(`${mount}/..${version}`);
      await Deno.copyFile(certPath, `${mount}/..${version}/tls.crt`);
      await Deno.copyFile(keyPath, `${mount}/..${version}/tls.key`);
      await Deno.symlink(`..${version}`, `${mount}/..data_tmp`);
      await Deno.rename(`${mount}/..data_tmp`, `${mount}/..data`);
    };
    await swap("1", "first");
    for (const file of ["tls.crt", "tls.key"]) {
      await Deno.symlink(`..data/${file}`, `${mount}/${file}`);
    }
    await Deno.mkdir(`${folder}/empty`);
    await Deno.copyFile(authority.caPath, `${mount}/ca.crt`);
    await Deno.copyFile(authority.caPath, `${folder}/ca.crt`);
    const certificates = await WebCertificates.load(folder);
    const { results } = follow(certificates);
    try {
      deepEqual(certificates.all.map(({ name }) => name), ["app/tls"]);
      deepEqual(certificates.warnings, []);
      deepEqual(certificates.facts(Date.now()).map(({ option }) => option), ["web-certs/app/tls"]);
      const before = certificates.for("app.test")!.certPem;
      await swap("2", "second");
      await eventually(() => certificates.for("app.test")!.certPem !== before, "the new one");
      deepEqual(results, ["applied"]);
    } finally {
      await certificates.close();
    }
  });
});

Deno.test("A folder without a usable pair is refused at start, and one with some says what it leaves out", async () => {
  await withFolder(async (root) => {
    const authority = await Authority.create(root, "own");
    const folder = `${root}/pairs`;
    const refusal = (pattern: RegExp) =>
      rejects(WebCertificates.load(folder), (error) => {
        ok(error instanceof ConfigError);
        match(error.message, pattern);
        return true;
      });
    await refusal(/^Option --web-certs: ".*pairs" cannot be read: /);
    await Deno.mkdir(folder);
    await refusal(
      /^Option --web-certs names ".*pairs", which holds no certificate: it needs NAME\.crt/,
    );
    await addPair({ authority, folder }, "one", "DNS:one.test");
    await Deno.remove(`${folder}/one.key`);
    await refusal(/^Option --web-certs: ".*one\.key" is missing: /);
    await addPair({ authority, folder }, "two", "DNS:two.test");
    const certificates = await WebCertificates.load(folder);
    equal(certificates.warnings.length, 1);
    match(certificates.warnings[0]!, /one\.key/);
    equal(certificates.for("two.test")?.name, "two");
  });
});

Deno.test("Certificates and hostnames that do not fit each other are told with both lists", async () => {
  const pairs = { right: "DNS:app.test,DNS:*.zone.test", wrong: "DNS:ap.test" };
  await withWebListener({ pairs }, ({ certificates }) => {
    const lines: unknown[] = [];
    const log = {
      warn: (message: string, fields?: object) => void lines.push({ message, ...fields }),
    };
    certificates.warnOfMisfits(["app.test", "*.zone.test", "bare.test"], log);
    deepEqual(lines, [
      {
        message: "Hostnames without a certificate: TLS handshakes for them fail",
        hostnames: "bare.test",
        certificates: "app.test, *.zone.test, ap.test",
      },
      {
        message: "Certificates that fit no hostname of a service",
        certificates: "wrong (ap.test)",
        hostnames: "app.test, *.zone.test, bare.test",
      },
    ]);
    lines.length = 0;
    certificates.warnOfMisfits(["app.test", "ap.test", "x.zone.test"], log);
    deepEqual(lines, []);
    return Promise.resolve();
  });
});

Deno.test("Handshakes see a replaced certificate at once, also those without a name", async () => {
  await withWebListener({ pairs: { own: "DNS:localhost" } }, async (listener) => {
    const { certificates } = listener;
    const fingerprint = async (servername?: string) => {
      const { port, ca } = listener;
      const socket = connect({
        ...{ port, host: "127.0.0.1", ca },
        ...servername && { servername },
        checkServerIdentity: () => undefined,
      });
      await within(once(socket, "secureConnect"), "the handshake");
      const { fingerprint256 } = socket.getPeerCertificate();
      socket.destroy();
      return fingerprint256;
    };
    const before = [await fingerprint("localhost"), await fingerprint()];
    certificates.follow({
      metrics: { configLoaded: () => {}, configReloaded: () => {} },
      log: { debug() {}, info() {}, warn() {}, error() {} } as never,
      replaced: () => {},
      intervalMs: 20,
    });
    const old = certificates.for("localhost");
    await addPair(listener, "own", "DNS:localhost");
    await eventually(() => certificates.for("localhost") !== old, "the new one");
    const after = [await fingerprint("localhost"), await fingerprint()];
    equal(after[0], after[1]);
    ok(after[0] !== before[0] && after[1] !== before[1]);
  });
});
