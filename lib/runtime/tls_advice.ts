/** What a user can do about a TLS connection that could not be made, behind what the runtime says. */

/** What to say of each kind of failure: the option that mends it. */
export interface TlsAdvice {
  /** What answers is not TLS. */
  readonly notTls: string;
  /** The peer's certificate leads to no CA that is trusted. */
  readonly unknownCa: string;
  /** The peer's certificate is for other names. */
  readonly otherName: string;
}

/** With an agent's target. */
export const targetTlsAdvice: TlsAdvice = {
  notTls: "a target without TLS wants --plain-target",
  unknownCa: "--ca-cert must hold the CA of the target's certificate",
  otherName: "--tls-server-name can say a name that it has",
};

/** Words of Deno's own TLS and of `node:tls`, which name the same failures differently. */
const kinds: readonly (readonly [keyof TlsAdvice, RegExp])[] = [
  ["notTls", /InvalidContentType/],
  ["unknownCa", /UnknownIssuer|unable to verify|unable to get .*issuer|self.signed certificate/],
  ["otherName", /not valid for name|match certificate's altnames/],
];

/** @returns `message` and, if it tells of one of these failures, what to do; else `message`. */
export function advised(message: string, advice: TlsAdvice): string {
  const kind = kinds.find(([, words]) => words.test(message))?.[0];
  return kind === undefined ? message : `${message}; ${advice[kind]}`;
}
