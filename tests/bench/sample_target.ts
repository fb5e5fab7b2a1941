/**
 * The sample target as a process of its own, plain and over TLS, for machines without nginx.
 *
 * Arguments: plain port, TLS port, path of the certificate, path of its key.
 */
import { startSampleTarget } from "../../deploy/demo/target.ts";

const [plainPort, tlsPort, certPath, keyPath] = Deno.args;
if (certPath === undefined || keyPath === undefined) {
  console.error("Usage: sample_target.ts PLAIN_PORT TLS_PORT CERT KEY");
  Deno.exit(2);
}
const tls = {
  cert: await Deno.readTextFile(certPath),
  key: await Deno.readTextFile(keyPath),
};
startSampleTarget({ port: Number(plainPort) });
startSampleTarget({ port: Number(tlsPort), tls });
