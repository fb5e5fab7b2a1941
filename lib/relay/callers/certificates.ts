/** Callers that a client certificate names; the TLS handshake has verified it. */
import type { CertificateRule } from "../../domain/callers.ts";
import type { PeerCertificate } from "../../net/exchange.ts";
import { callerUnknown } from "../caller_errors.ts";
import { type Caller, Denial, type Identity } from "./caller.ts";
import { isPrintableName } from "../../domain/printable_name.ts";
import { anyName, NamePatterns } from "../../domain/name_patterns.ts";

/** What a certificate without any name is called. */
const nameless = "unnamed";

/** Tells which caller a certificate names. */
export class CallerCertificates {
  readonly #rules: readonly { readonly name: NamePatterns; readonly clusters: readonly string[] }[];

  constructor(rules: readonly CertificateRule[]) {
    this.#rules = rules.map(({ name, clusters }) => ({ name: new NamePatterns([name]), clusters }));
  }

  /** The caller, with the clusters of all rules that fit one of its names; nothing without any. */
  find(certificate: PeerCertificate): Caller | undefined {
    const names = certificate.names.filter(isPrintableName);
    const fitting = this.#rules.filter((rule) => names.some((name) => rule.name.matches(name)));
    const [first] = fitting;
    if (first === undefined) return undefined;
    // The log is to have the name that counted.
    const name = names.find((name) => first.name.matches(name)) ?? nameless;
    const clusters = new NamePatterns(fitting.flatMap((rule) => rule.clusters));
    return { kind: "certificate", name, clusters };
  }
}

const unprintable = new Denial("name", callerUnknown, "no name of the certificate is printable");

/** The caller without rules: its CA is the one that says who may call, and any cluster is open. */
export function anyCertificate({ names }: PeerCertificate): Identity {
  const name = names.length === 0 ? nameless : names.find(isPrintableName);
  if (name === undefined) return unprintable;
  return { kind: "certificate", name, clusters: anyName };
}
