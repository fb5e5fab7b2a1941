import { deepEqual, equal } from "node:assert/strict";
import { factsOf, leadsTo, readCertificates } from "../../lib/runtime/node/certificates.ts";
import { Authority, withFolder } from "../support/certificates.ts";

const read = (path: string) => Deno.readTextFileSync(path);
const dayMs = 86_400_000;

Deno.test("leadsTo: by signature and dates, whatever the names", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    await Deno.mkdir(`${folder}/other`);
    // The same name, another key: only the signature tells them apart.
    const impostor = await Authority.create(`${folder}/other`, "own");
    const { certPath } = await own.issue("caller", "DNS:caller");
    const now = Date.now() + 1000;
    const [certificate, ca, other] = [certPath, own.caPath, impostor.caPath]
      .map((path) => readCertificates(read(path))[0]!);
    const chain = [certificate!, ca!];
    equal(leadsTo([ca!], chain, now), true);
    equal(leadsTo([other!, ca!], [certificate!], now), true);
    equal(leadsTo([other!], chain, now), false);
    equal(leadsTo([], chain, now), false);
    equal(leadsTo([ca!], [], now), false);
    equal(leadsTo([ca!], chain, now + 3 * dayMs), false, "after its end");
    equal(leadsTo([ca!], chain, now - 3 * dayMs), false, "before its begin");
    equal(leadsTo([certificate!], [ca!], now), false, "a leaf signs nothing");
  });
});

Deno.test("factsOf: a chain lasts as long as its first member, a CA's file as its valid ones", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const { certPath } = await own.issue("caller", "DNS:caller");
    const pem = read(certPath) + read(own.caPath);
    const ends = readCertificates(pem).map(({ validTo }) => Date.parse(validTo));
    const [first, last] = [Math.min(...ends), Math.max(...ends)];
    const now = Date.now();
    deepEqual(factsOf(pem, true, now)?.notAfterMs, first);
    deepEqual(factsOf(pem, false, now)?.notAfterMs, first);
    deepEqual(factsOf(pem, true, last + 1)?.notAfterMs, first);
    deepEqual(factsOf(pem, false, last + 1)?.notAfterMs, last);
    deepEqual(factsOf(read(certPath), true, now)?.subject, "CN=caller");
    deepEqual(factsOf("", true, now), undefined);
  });
});

Deno.test("factsOf: a certificate without a subject is called by its names", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const { certPath } = await own.issue("server", "DNS:relay.example.com", "/");
    const facts = factsOf(read(certPath), true, Date.now());
    deepEqual(facts?.subject, "DNS:relay.example.com");
  });
});
