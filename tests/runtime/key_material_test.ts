/** Certificates, keys and CAs as people really have them: used, or refused with what would be right. */
import { deepEqual, equal, match, rejects, throws } from "node:assert/strict";
import { ConfigError } from "../../lib/config/config_error.ts";
import { caFault, loadCaBundle, loadKeyPair } from "../../lib/runtime/node/key_material.ts";
import { Authority, type KeyPairFiles, openssl, withFolder } from "../support/certificates.ts";

const read = (path: string) => Deno.readTextFileSync(path);
const file = (option: string, text: string) => ({ origin: `Option --${option}`, path: "/x", text });
const names = "subjectAltName=DNS:relay.example,IP:127.0.0.1,IP:::1";

const load = ({ certPath, keyPath }: KeyPairFiles, use: "server" | "client" = "server") =>
  loadKeyPair(file("tls-cert", read(certPath)), file("tls-key", read(keyPath)), use);

/** A self-signed certificate. */
async function selfSigned(folder: string, ...more: readonly string[]): Promise<KeyPairFiles> {
  const [certPath, keyPath] = [`${folder}/self.crt`, `${folder}/self.key`];
  await openssl(
    ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=self", "-days", "2"],
    ...["-keyout", keyPath, "-out", certPath, ...more],
  );
  return { certPath, keyPath };
}

Deno.test("loadKeyPair() gives chain, key and what is to be known of the leaf", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const pair = await own.issueWith("relay", { extensions: [names] });
    const chain = read(pair.certPath) + read(own.caPath);
    // Both files hold both, as HAProxy has it, and begin with a byte order mark, as Notepad has it.
    const both = `\uFEFF${chain}${read(pair.keyPath)}`.replaceAll("\n", "\r\n");
    const loaded = await loadKeyPair(file("tls-cert", both), file("tls-key", both), "server");
    deepEqual([loaded.certPem, loaded.keyPem], [chain, read(pair.keyPath)]);
    const { subject, dnsNames, ipAddresses, notBefore, notAfter } = loaded.leaf;
    deepEqual({ subject, dnsNames, ipAddresses }, {
      subject: "CN=relay",
      dnsNames: ["relay.example"],
      ipAddresses: ["127.0.0.1", "::1"],
    });
    equal(notAfter.getTime() - notBefore.getTime(), 2 * 86_400_000);
    deepEqual(loaded.warnings, []);
  });
});

Deno.test("loadKeyPair() takes each kind of key that a handshake succeeds with", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const keys = {
      rsa: ["-newkey", "rsa:2048"],
      p384: ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"],
      ed25519: ["-newkey", "ed25519"],
    };
    for (const [name, key] of Object.entries(keys)) {
      await load(await own.issueWith(name, { key, extensions: [names] }));
    }
  });
});

Deno.test("loadKeyPair() refuses what no handshake succeeds with, and says why", async (t) => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const pssKey = ["-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"];
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"];
    const critical = [names, "1.2.3.4.5.6=critical,DER:0500"];
    const cases = [
      ["pss", { key: pssKey, extensions: [names] }, /key is RSA-PSS.*: use ECDSA with P-256/],
      ["k1", { key: curve, extensions: [names] }, /key is on the curve secp256k1.*: use ECDSA/],
      ["short", { key: ["-newkey", "rsa:1024"], extensions: [names] }, /RSA of 1024 bits.*: use/],
      ["critical", { extensions: critical }, /extension 1\.2\.3\.4\.5\.6 is critical.*: issue it/],
    ] as const;
    for (const [name, how, says] of cases) {
      await t.step(name, async () => {
        const pair = await own.issueWith(name, how);
        await rejects(load(pair), (error: Error) => {
          equal(error instanceof ConfigError, true);
          match(error.message, /^Option --tls-cert names "\/x", with which no TLS handshake suc/);
          match(error.message, says);
          equal(error.message.includes("\n"), false);
          return true;
        });
      });
    }
    await t.step("X.509 version 1", async () => {
      await rejects(load(await own.issueVersion1("old")), {
        message: /^Option --tls-cert names "\/x", whose first certificate is X\.509 version 1, /,
      });
    });
  });
});

Deno.test("loadKeyPair() says what is wrong with a chain, and with which file", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const pair = await own.issue("relay", "DNS:relay");
    const other = await own.issue("other", "DNS:other");
    const [cert, key, ca] = [pair.certPath, pair.keyPath, own.caPath].map(read) as [
      string,
      string,
      string,
    ];
    const damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    const damagedKey = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    const cases: readonly (readonly [string, string, RegExp])[] = [
      [
        ca + cert,
        key,
        /^Option --tls-cert .* CN=own authority, but the key's is the second, CN=re/,
      ],
      [cert, read(other.keyPath), /^Option --tls-key .* not the key of the certificate in --tls-c/],
      [damaged + cert, key, /^Option --tls-cert names "\/x", whose first certificate is damaged$/],
      [cert + damaged, key, /^Option --tls-cert names "\/x", whose second certificate is damaged$/],
      [cert, damagedKey, /^Option --tls-key names "\/x", whose private key is damaged$/],
      ["", key, /^Option --tls-cert names "\/x", which is empty$/],
      [cert, " \n", /^Option --tls-key names "\/x", which is empty$/],
    ];
    for (const [chain, keyText, message] of cases) {
      const loading = loadKeyPair(file("tls-cert", chain), file("tls-key", keyText), "server");
      await rejects(loading, { name: "ConfigError", message });
    }
  });
});

Deno.test("loadKeyPair() warns of a certificate that its peers refuse, by its use", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const nameless = await own.issueWith("nameless", { extensions: ["keyUsage=digitalSignature"] });
    match((await load(nameless)).warnings.join(), /no name in a subjectAltName/);
    deepEqual((await load(nameless, "client")).warnings, []);
    const issued = (usage: string) =>
      own.issueWith(usage, {
        extensions: ["subjectAltName=DNS:a", `extendedKeyUsage=${usage}`],
      });
    const forClients = await issued("clientAuth");
    match((await load(forClients)).warnings.join(), /extendedKeyUsage without serverAuth/);
    deepEqual((await load(forClients, "client")).warnings, []);
    const forServers = await issued("serverAuth");
    deepEqual((await load(forServers)).warnings, []);
    match((await load(forServers, "client")).warnings.join(), /without clientAuth.*relays refuse/);
    deepEqual((await load(await issued("serverAuth,clientAuth"))).warnings, []);
    deepEqual((await load(await issued("anyExtendedKeyUsage"))).warnings, []);
    const ca = await selfSigned(folder, "-addext", "subjectAltName=DNS:self");
    match((await load(ca)).warnings.join(), /a CA's \(basicConstraints CA:TRUE\).*CA:FALSE$/);
  });
});

Deno.test("loadCaBundle() names the one certificate of many that is damaged", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const ca = read(own.caPath);
    const damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    const lines = ca.split("\n");
    const gap = [...lines.slice(0, 3), ...lines.slice(4)].join("\n");
    const cases: readonly (readonly [string, RegExp])[] = [
      [ca + damaged + ca, /whose second certificate of 3 is damaged$/],
      [ca + gap, /whose second certificate of 2 is damaged$/],
      [damaged, /whose certificates are damaged$/],
      [
        ca.slice(0, -60),
        /^Option --ca-cert names "\/x", which, from line 1 on, ends within a cert/,
      ],
      ["", /^Option --ca-cert names "\/x", which is empty$/],
    ];
    equal(caFault(ca), undefined);
    for (const [text, message] of cases) {
      throws(() => loadCaBundle(file("ca-cert", text)), { name: "ConfigError", message });
      match(`Option --ca-cert names "/x", ${caFault(text)}`, message);
    }
  });
});

Deno.test("loadCaBundle() keeps certificates alone, and warns of a key among them", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const ca = read(own.caPath);
    const bundle = loadCaBundle(file("ca-cert", `\uFEFF${ca}${read(own.keyPath)}`));
    equal(bundle.caPem, ca);
    match(bundle.warnings.join(), /^Option --ca-cert names "\/x", which holds a private key too/);
    deepEqual(loadCaBundle(file("ca-cert", ca)).warnings, []);
  });
});
