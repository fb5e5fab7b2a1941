import { deepEqual, equal, throws } from "node:assert/strict";
import {
  certificateBlocks,
  certificatesOnly,
  PemError,
  privateKeyOnly,
  readPem,
} from "../../lib/config/pem.ts";

const block = (label: string, base64 = "MAA=") =>
  `-----BEGIN ${label}-----\n${base64}\n-----END ${label}-----\n`;

Deno.test("certificatesOnly() writes the certificates anew, and nothing else of a file", () => {
  const file = "\uFEFFSubject: CN=ca\r\n" +
    block("CERTIFICATE", "MA\r\n  A=").replaceAll("\n", "\r\n") + block("PRIVATE KEY") +
    block("X509 CERTIFICATE", "MAA=") + "behind it\n";
  equal(certificatesOnly(file), block("CERTIFICATE") + block("CERTIFICATE"));
});

Deno.test("privateKeyOnly() finds a key beside its certificate and its curve's parameters", () => {
  const file = block("EC PARAMETERS") + block("EC PRIVATE KEY") + block("CERTIFICATE");
  equal(privateKeyOnly(file), block("EC PRIVATE KEY"));
});

Deno.test("readPem() tells the line that each block begins in", () => {
  const blocks = readPem(`a comment\n\n${block("CERTIFICATE")}${block("PRIVATE KEY")}`);
  deepEqual(blocks.map(({ label, line }) => [label, line]), [
    ["CERTIFICATE", 3],
    ["PRIVATE KEY", 6],
  ]);
});

const cases: readonly (readonly [string, string, RegExp])[] = [
  ["an empty file", "", /^which is empty$/],
  ["a byte order mark alone", "\uFEFF\n", /^which is empty$/],
  ["DER", "0\uFFFD\u0001\uFFFD\0", /^which is binary \(DER or PKCS #12\)/],
  ["another text", "hello", /^which is not PEM/],
  ["a key alone", block("PRIVATE KEY"), /^which holds no certificate: /],
  [
    "OpenSSL's own format",
    block("TRUSTED CERTIFICATE"),
    /^whose block in line 1 .*openssl x509 -in/,
  ],
  ["a request", block("CERTIFICATE REQUEST"), /a request: it must be the certificate/],
  ["PKCS #7", block("PKCS7"), /openssl pkcs7 -print_certs/],
  ["a revocation list", block("CERTIFICATE") + block("X509 CRL"), /line 4 \(X509 CRL\) is a revoc/],
  [
    "a file that breaks off",
    block("CERTIFICATE") + block("CERTIFICATE").slice(0, -20),
    /^which, from line 4 on, ends within a certificate$/,
  ],
  [
    "a block without its end",
    block("CERTIFICATE").replace(/-----END.*\n/, "") + block("CERTIFICATE"),
    /^whose certificate in line 1 has no line -----END CERTIFICATE-----$/,
  ],
  ["no base64", block("CERTIFICATE", "MAA!"), /^whose certificate in line 1 is not base64/],
  ["an empty block", block("CERTIFICATE", ""), /^whose certificate in line 1 is empty$/],
];

for (const [what, text, says] of cases) {
  Deno.test(`certificateBlocks() refuses ${what}, and says what it is`, () => {
    throws(() => certificateBlocks(text), (error: Error) => {
      equal(error instanceof PemError && says.test(error.message), true, error.message);
      return true;
    });
  });
}

Deno.test("privateKeyOnly() refuses what is no usable key, and says what it is", () => {
  const keys: readonly (readonly [string, RegExp])[] = [
    [block("CERTIFICATE"), /^which holds no private key: /],
    [block("ENCRYPTED PRIVATE KEY"), /^which is encrypted: /],
    [
      block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMAA="),
      /^which is encrypted: /,
    ],
    [block("OPENSSH PRIVATE KEY"), /ssh-keygen -p -m PEM/],
    [block("PRIVATE KEY") + block("PRIVATE KEY"), /^which holds 2 private keys/],
    [block("PRIVATE KEY").slice(0, -20), /^whose private key in line 1 breaks off: it is damaged$/],
  ];
  for (const [text, says] of keys) throws(() => privateKeyOnly(text), { message: says });
});

Deno.test("a file may have many blocks: its lines are not searched again for each", () => {
  const count = 100_000;
  equal(readPem(block("CERTIFICATE").repeat(count)).length, count);
});
