/** Says why a connection to the relay failed, and what to do about it. */
import { RelayConnectionError } from "../../agent/relay_errors.ts";
import { advised, type TlsAdvice } from "../tls_advice.ts";
import { UntrustedPeerError } from "./verified_tls.ts";

/** What is known of the attempt. */
export interface RelayAttempt {
  /** Whether the URL is `wss://`. */
  readonly isSecure: boolean;
  /** Whether the agent has a certificate to show. */
  readonly hasCertificate: boolean;
  /** Whether TLS, or on `ws://` the connection, was established. */
  readonly isEstablished: boolean;
}

/** What mends the agent's TLS with its relay. */
export const serverTlsAdvice: TlsAdvice = {
  notTls: "the relay has no TLS at that port: check --server's, and the relay's --tls-cert",
  unknownCa: "--server-ca-cert must hold the CA of the relay's certificate",
  otherName: "--server, or --server-name, must have a name of the relay's certificate",
  dates: "renew the relay's --tls-cert, or set the clock",
};

/** The connection ended: `ECONNRESET` is also what Node says of an orderly end before the answer. */
const endedCodes: readonly string[] = ["ECONNRESET", "EPIPE", "ECONNABORTED"];

/** The relay's alert (RFC 8446 section 6.2), in the words of rustls, with what to do about it. */
const alerts: readonly (readonly [RegExp, string])[] = [
  [/CertificateRequired/, "give a certificate with --client-cert"],
  [/CertificateExpired/, "the certificate in --client-cert has expired for the relay's clock"],
  [
    /BadCertificate|UnsupportedCertificate|CertificateRevoked|CertificateUnknown|UnknownCA|AccessDenied|DecryptError/,
    "the relay does not accept the certificate in --client-cert; its --tls-client-ca must hold " +
    "that certificate's CA",
  ],
  [/HandshakeFailure/, "it may demand a certificate: give one with --client-cert"],
  [/ProtocolVersion/, "it has to offer TLS 1.2 or later"],
  [/Unrecogni[sz]edName/, "it has no certificate for the name in --server or --server-name"],
];

/** @param error What the runtime threw. */
export function relayFailure(error: Error & { code?: string }, attempt: RelayAttempt): Error {
  const { message, code = "" } = error;
  if (error instanceof UntrustedPeerError) {
    return new Error(`The relay can't be trusted: ${message}`, { cause: error });
  }
  const options = { cause: error };
  const alert = /received fatal alert: \w+/.exec(message)?.[0];
  if (alert !== undefined) {
    const advice = alerts.find(([words]) => words.test(alert))?.[1];
    const line = advice === undefined ? message : `${message}; ${advice}`;
    return new RelayConnectionError("alert", line, options);
  }
  if (endedCodes.includes(code)) {
    return new RelayConnectionError("silent", endOf(attempt), options);
  }
  if (code === "HPE_INVALID_CONSTANT") {
    const advice = "what answered is not HTTP: a relay with TLS is reached by wss://";
    return new Error(`${message}; ${advice}`, options);
  }
  return new Error(advised(message, serverTlsAdvice), options);
}

function endOf({ isSecure, hasCertificate, isEstablished }: RelayAttempt): string {
  if (!isSecure) {
    return "The connection ended without an answer; a relay with TLS is reached by wss://";
  }
  if (!isEstablished) {
    return "The connection ended within the TLS handshake; --server must lead to the relay's " +
      "public listener, and what is between them must pass TLS on";
  }
  return hasCertificate
    ? "The relay ended the connection after the TLS handshake: it does not accept the " +
      "certificate in --client-cert, as its log says, or it just stopped"
    : "The relay ended the connection after the TLS handshake: it probably demands a " +
      "certificate; give one with --client-cert";
}
