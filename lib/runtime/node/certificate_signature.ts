/**
 * Whether one certificate is signed with the key of another.
 *
 * Not by `X509Certificate.verify`: in Deno 2.9.6 it says no to every RSA-PSS signature, and throws for
 * keys on P-521. TLS accepts both.
 */
import { constants, createPublicKey, type KeyObject, verify } from "node:crypto";
import { type Element, elements, oidText, tags, wholeOf } from "./der.ts";

const ed25519 = "1.3.101.112";
const rsaPss = "1.2.840.113549.1.1.10";
/** Hash functions by signature algorithm (RFC 5758, RFC 8017). Others are too weak, or unheard of. */
const hashes: Readonly<Record<string, string>> = {
  "1.2.840.10045.4.3.2": "sha256",
  "1.2.840.10045.4.3.3": "sha384",
  "1.2.840.10045.4.3.4": "sha512",
  "1.2.840.113549.1.1.11": "sha256",
  "1.2.840.113549.1.1.12": "sha384",
  "1.2.840.113549.1.1.13": "sha512",
};
const digests: Readonly<Record<string, string>> = {
  "2.16.840.1.101.3.4.2.1": "sha256",
  "2.16.840.1.101.3.4.2.2": "sha384",
  "2.16.840.1.101.3.4.2.3": "sha512",
};
/** The index of the subject's public key among the members of TBSCertificate after the version. */
const publicKeyIndex = 5;

/**
 * Verifies a certificate's signature.
 *
 * @param der The whole certificate that was signed.
 * @param issuer The whole certificate whose key it is said to be signed with.
 * @returns false as well for algorithms that are not known, and for bytes that are no certificate
 */
export function isSignedBy(der: Uint8Array, issuer: Uint8Array): boolean {
  try {
    const [body, algorithm, signature] = partsOf(der);
    if (!body || !algorithm || signature?.tag !== tags.bitString) return false;
    const how = methodOf(der, algorithm);
    if (!how) return false;
    // A bit string begins with the number of bits that don't count, which is none here.
    const bits = der.subarray(signature.start + 1, signature.end);
    const signed = der.subarray(body.from, body.end);
    const { hash, ...padding } = how;
    return verify(hash, signed, { key: publicKeyOf(issuer), ...padding }, bits);
  } catch {
    // What can't be read or is of a kind that isn't known proves nothing.
    return false;
  }
}

interface Method {
  readonly hash: string | null;
  readonly padding?: number;
  readonly saltLength?: number;
}

/** How a signature is verified; undefined for an algorithm that is not known. */
function methodOf(der: Uint8Array, algorithm: Element): Method | undefined {
  const [id, parameters] = elements(der, algorithm);
  if (!id) return undefined;
  const oid = oidText(der, id);
  if (oid === ed25519) return { hash: null };
  if (oid === rsaPss && parameters) {
    const hash = pssHashOf(der, parameters);
    const { RSA_PKCS1_PSS_PADDING: padding, RSA_PSS_SALTLEN_DIGEST: saltLength } = constants;
    // TLS takes salts of the hash's length only (RFC 8446 section 4.2.3).
    return hash === undefined ? undefined : { hash, padding, saltLength };
  }
  const hash = hashes[oid];
  return hash === undefined ? undefined : { hash };
}

/** RSASSA-PSS-params ::= SEQUENCE { hashAlgorithm [0] AlgorithmIdentifier, … } (RFC 4055) */
function pssHashOf(der: Uint8Array, parameters: Element): string | undefined {
  const [tagged] = elements(der, parameters);
  if (tagged?.tag !== 0xa0) return undefined;
  const [algorithm] = elements(der, tagged);
  const [id] = algorithm ? elements(der, algorithm) : [];
  return id && digests[oidText(der, id)];
}

/** Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue } */
function partsOf(der: Uint8Array): Element[] {
  const [certificate] = elements(der, wholeOf(der));
  return certificate ? elements(der, certificate) : [];
}

function publicKeyOf(der: Uint8Array): KeyObject {
  const [body] = partsOf(der);
  const members = body ? elements(der, body) : [];
  const first = members[0]?.tag === tags.version ? 1 : 0;
  const key = members[first + publicKeyIndex];
  if (!key) throw new RangeError("A certificate without a key");
  const spki = der.slice(key.from, key.end);
  return createPublicKey({ key: spki as never, format: "der", type: "spki" });
}
