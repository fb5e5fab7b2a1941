import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import fc from "fast-check";
import { certificateNames } from "../../lib/runtime/node/certificate_names.ts";
import { runOpenssl } from "../support/certificates.ts";

/** A self-signed certificate in DER. @param san Lines of an openssl `subjectAltName` section. */
async function certificate(subject: string, san: readonly string[]): Promise<Uint8Array> {
  const folder = await Deno.makeTempDir({ prefix: "culvert-names-" });
  try {
    const config = `${folder}/openssl.cnf`;
    const section = san.length > 0 ? ["subjectAltName = @san", "[san]", ...san] : [];
    const lines = ["[req]", "distinguished_name = dn", "x509_extensions = ext", "[dn]", "[ext]"];
    await Deno.writeTextFile(config, [...lines, ...section, ""].join("\n"));
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    const files = ["-keyout", `${folder}/key.pem`, "-outform", "DER", "-out", `${folder}/der`];
    const args = ["req", "-x509", ...key, "-utf8", "-subj", subject, "-config", config, ...files];
    const { success, stderr } = await runOpenssl(args);
    assert.ok(success, stderr);
    return await Deno.readFile(`${folder}/der`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("certificateNames() reads common names, DNS names and URIs, in this order", async () => {
  const der = await certificate("/O=Example, Inc./CN=agent-ä", [
    "DNS.1 = agent.example",
    "IP.1 = 127.0.0.1",
    "URI.1 = spiffe://example/agent",
    "email.1 = a@example",
  ]);
  assert.deepEqual(certificateNames(der), [
    "agent-ä",
    "agent.example",
    "spiffe://example/agent",
  ]);
});

Deno.test("certificateNames() keeps one name one name, whatever is in it", async () => {
  const der = await certificate("/CN=innocent", ["URI.1 = x://y, DNS:admin"]);
  assert.deepEqual(certificateNames(der), ["innocent", "x://y, DNS:admin"]);
  const shown = new X509Certificate(der).subjectAltName;
  assert.ok(shown?.includes("DNS:admin"), "Node's text has both names, which is why it isn't used");
});

Deno.test("certificateNames() takes a certificate without a name, and repeats once", async () => {
  assert.deepEqual(certificateNames(await certificate("/O=nobody", [])), []);
  const der = await certificate("/CN=same.example", ["DNS.1 = same.example"]);
  assert.deepEqual(certificateNames(der), ["same.example"]);
});

Deno.test("certificateNames() throws a RangeError, and nothing else, for damaged bytes", async () => {
  const der = await certificate("/CN=agent", ["DNS.1 = agent.example"]);
  assert.throws(() => certificateNames(new Uint8Array(0)), RangeError);
  const damage = fc.record({
    at: fc.nat(der.length - 1),
    byte: fc.nat(255),
    length: fc.nat(der.length),
  });
  fc.assert(fc.property(damage, ({ at, byte, length }) => {
    const damaged = der.slice(0, length);
    if (at < length) damaged[at] = byte;
    try {
      certificateNames(damaged);
    } catch (error) {
      assert.ok(error instanceof RangeError, String(error));
    }
  }));
});
