/** Why a TLS connection could not be made, in words that a user can act upon. */

/** What can be wrong with a peer of TLS. */
export type TlsFault =
  /** What answers is not TLS. */
  | "notTls"
  /** The peer's certificate is not valid any more, or not yet. */
  | "dates"
  /** The peer's certificate is of X.509 version 1. */
  | "version1"
  /** The peer's certificate is a CA's. */
  | "caAsServer"
  /** The peer's certificate has no name where one is looked for. */
  | "nameless"
  /** The peer's certificate is for other names. */
  | "otherName"
  /** The peer's certificate leads to no CA that is trusted. */
  | "unknownCa"
  /** The peer's certificate, or a CA's in its chain, is not for servers. */
  | "usage"
  /** A CA in the peer's chain has issued what it may not. */
  | "issuance"
  /** The peer's certificate has an extension that must be understood and is not. */
  | "criticalExtension";

/** The options that mend a fault. */
export interface TlsAdvice {
  readonly notTls: string;
  readonly unknownCa: string;
  readonly otherName: string;
  /** The certificate is not valid any more, or not yet. */
  readonly dates: string;
}

/** Advice on TLS with an agent's target. */
export const targetTlsAdvice: TlsAdvice = {
  notTls: "a target without TLS wants --plain-target",
  unknownCa: "--ca-cert must hold the CA of the target's certificate",
  otherName: "--tls-server-name can set a name that it holds",
  dates: "renew it, or set the clock",
};

/** Advice on TLS with a target of the agent's targets file. */
export const namedTargetTlsAdvice: TlsAdvice = {
  notTls: "a target without TLS must have no tls in the targets file",
  unknownCa: "tls.ca in the targets file must hold the CA of the target's certificate",
  otherName: "tls.serverName in the targets file can set a name that it holds",
  dates: "renew it, or set the clock",
};

/** Advice on TLS with another relay. */
export const relayTlsAdvice: TlsAdvice = {
  notTls: "--advertise of the other relay must begin with http:// if it listens without TLS",
  unknownCa: "--relay-ca must hold the CA of the other relays' certificates",
  otherName: "--advertise of the other relay must be a name that its certificate holds",
  dates: "renew the other relay's --tls-cert, or set the clock",
};

/** What mends a certificate, whoever shows it. */
const remedies: Partial<Readonly<Record<TlsFault, string>>> = {
  version1: "reissue it with extensions, as with openssl x509 -req -extfile",
  caAsServer: "give the server a certificate of its own, or make a self-signed one with " +
    "openssl req -x509 -addext basicConstraints=critical,CA:FALSE",
  nameless: "reissue it with subjectAltName=DNS:NAME, or IP:ADDRESS; its CN is ignored",
  usage: "issue it with extendedKeyUsage=serverAuth, or without that extension",
  issuance: "have a CA issue it that is allowed to",
  criticalExtension: "issue it without that extension, or not critical",
};

/** A fault in one line: what is wrong, and what mends it. */
export function faultLine(fault: TlsFault, what: string, advice: TlsAdvice): string {
  return `${what}; ${remedies[fault] ?? advice[fault as keyof TlsAdvice]}`;
}

/** A peer's certificate is not valid now. */
export function dateFault(
  { notBeforeMs, notAfterMs }: { readonly notBeforeMs: number; readonly notAfterMs: number },
  nowMs: number,
): string | undefined {
  const clock = `this machine's clock says ${iso(nowMs)}`;
  if (nowMs < notBeforeMs) return `the certificate is valid from ${iso(notBeforeMs)}, and ${clock}`;
  if (nowMs >= notAfterMs) return `the certificate expired on ${iso(notAfterMs)}, and ${clock}`;
  return undefined;
}

/** A point in time, to the second. */
export function iso(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+/, "");
}

/** Words of Deno's own TLS and of `node:tls`, which name the same failures differently. */
const kinds: readonly (readonly [TlsFault, RegExp, string?])[] = [
  ["notTls", /InvalidContentType/, "the server does not speak TLS"],
  ["version1", /UnsupportedCertVersion/, "its certificate is X.509 version 1"],
  ["caAsServer", /CaUsedAsEndEntity/, "its certificate is a CA's (basicConstraints CA:TRUE)"],
  [
    "criticalExtension",
    /UnsupportedCriticalExtension/,
    "its certificate has a critical extension that is not known",
  ],
  [
    "usage",
    /does not allow extended key usage/,
    "its certificate or its CA's is not for servers (extendedKeyUsage)",
  ],
  [
    "issuance",
    /PathLenConstraintViolated/,
    "a CA in its chain may issue no further CA (pathLenConstraint)",
  ],
  [
    "issuance",
    /NameConstraintViolation/,
    "a CA in its chain may not issue for its names (nameConstraints)",
  ],
  ["issuance", /EndEntityUsedAsCa/, "the issuer of its certificate is not a CA"],
  ["nameless", /certificate is not valid for any names/, "its certificate has no subjectAltName"],
  ["unknownCa", /UnknownIssuer|unable to verify|unable to get .*issuer|self.signed certificate/],
  [
    "unknownCa",
    /BadSignature/,
    "its certificate is signed by another key than the one of the trusted CA with that name",
  ],
  ["otherName", /not valid for name|match certificate's altnames/],
];

/**
 * Puts a TLS failure in words.
 *
 * @param message The runtime's own.
 * @returns what is wrong and what mends it, if that is known; else `message`
 */
export function advised(message: string, advice: TlsAdvice, nowMs = Date.now()): string {
  const dates = datesIn(message);
  const when = dates && dateFault(dates, nowMs);
  if (when !== undefined) return faultLine("dates", when, advice);
  const found = kinds.find(([, words]) => words.test(message));
  if (!found) return message;
  const [fault, , what] = found;
  return faultLine(fault, what === undefined ? message : `${what} (${message})`, advice);
}

/** The end or begin that rustls tells, in seconds since 1970. */
function datesIn(message: string): { notBeforeMs: number; notAfterMs: number } | undefined {
  const [, kind, seconds] = /is not valid (after|before) (\d+)/.exec(message) ?? [];
  if (kind === undefined) return undefined;
  const ms = Number(seconds) * 1000;
  return kind === "after"
    ? { notBeforeMs: -Infinity, notAfterMs: ms }
    : { notBeforeMs: ms, notAfterMs: Infinity };
}
