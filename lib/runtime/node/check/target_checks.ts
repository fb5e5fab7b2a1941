/** The checks of an agent's way to its target, up to a request with its credential. */
import { connect as connectPlain, isIP } from "node:net";
import { Credentials } from "../../../agent/credentials.ts";
import { expiryOf } from "../../../agent/credential_expiry.ts";
import { encodeLatin1 } from "../../../bytes/bytes.ts";
import type { TargetCredential } from "../../../domain/target.ts";
import type { Check } from "../../../commands/check_report.ts";
import { formatAddress, type TargetAddress } from "../../../config/options/address.ts";
import { headFaults } from "../../../http1/faults.ts";
import { defaultHeadLimits, HeadError, type ResponseHead } from "../../../http1/head.ts";
import { HeadReader } from "../../../http1/head_reader.ts";
import type { ByteSocket } from "../../../net/byte_socket.ts";
import { tokenFile } from "../token_file.ts";
import { dateFault, faultLine, targetTlsAdvice } from "../../tls_advice.ts";
import { describe, readPeerCertificate } from "./peer_certificate.ts";
import { reachChecks } from "./reach.ts";

/** The target, and how the agent reaches it. */
export interface CheckedTarget {
  /** `target`, or its name in the targets file. */
  readonly name: string;
  /** Whether it is one of the targets file. */
  readonly isNamed?: boolean;
  readonly kind?: "http" | "tcp";
  readonly address: TargetAddress;
  /** Undefined for a target without TLS. */
  readonly tls?: { readonly serverName?: string | undefined } | undefined;
  readonly credential?: TargetCredential | undefined;
  /** Connects to the target as the agent does. */
  readonly dial: (signal: AbortSignal) => Promise<ByteSocket>;
}

/** All of them, in order. */
export function targetChecks(target: CheckedTarget): Check[] {
  const { name, isNamed, kind = "http", address, tls } = target;
  return [
    ...reachChecks({ name, ...address, option: isNamed ? "--targets" : "--target" }),
    ...(tls
      ? [{ name: `${name} TLS`, run: (signal: AbortSignal) => checkTls(target, signal) }]
      : []),
    ...(kind === "http"
      ? [{
        name: `${name} credential`,
        run: (signal: AbortSignal) => checkCredential(target, signal),
      }]
      : []),
  ];
}

async function checkTls(target: CheckedTarget, signal: AbortSignal): Promise<string> {
  const certificate = await shownCertificate(target, signal);
  try {
    (await target.dial(signal)).destroy();
  } catch (error) {
    const fault = certificate && dateFault(certificate, Date.now());
    if (fault === undefined) throw error;
    const line = faultLine("dates", fault, targetTlsAdvice);
    throw new Error(`the target can't be trusted: ${line}`);
  }
  return certificate ? describe(certificate) : "connected";
}

/** Unverified, and only to tell of it. */
async function shownCertificate({ address, tls }: CheckedTarget, signal: AbortSignal) {
  const name = tls?.serverName ?? address.hostname;
  const connection = connectPlain({ host: address.hostname, port: address.port });
  try {
    return await readPeerCertificate(connection, {
      ...(isIP(name) ? {} : { servername: name }),
      rejectUnauthorized: false,
      ALPNProtocols: ["http/1.1"],
    }, signal);
  } catch {
    return undefined; // The agent's own connection, which follows, says what is wrong.
  }
}

async function checkCredential(target: CheckedTarget, signal: AbortSignal): Promise<string> {
  const { credential } = target;
  const { file: path, header } = credential ?? {};
  let token = "";
  const value = credential && new Credentials({
    ...credential,
    file: tokenFile(credential.file),
    origin: adviceFor(target).token.slice(2),
  }, (read) => void (token = read)).value();
  const field = value === undefined ? undefined : `${header}: ${value}`;
  const status = await askTarget(target, field, signal);
  if (status === 400 && target.tls === undefined) {
    throw new Error(
      `the target answers 400 to plain HTTP; if it speaks TLS, ${adviceFor(target).tls}`,
    );
  }
  if (field === undefined) {
    return `the target answers (status ${status}); the agent sends no credential`;
  }
  if (status !== 401) return `the target accepts the token (status ${status} for ${probePath})`;
  const expiresMs = expiryOf(token);
  const isOver = expiresMs !== undefined && expiresMs <= Date.now();
  throw new Error(
    `the target refuses the token in ${JSON.stringify(path)} (status 401)` +
      (isOver ? `: it expired on ${new Date(expiresMs).toISOString()}` : "") +
      `; write a valid token to that file, or name another with ${adviceFor(target).token}`,
  );
}

/** The options to name where something is wrong. */
function adviceFor({ isNamed }: CheckedTarget) {
  return isNamed
    ? { token: "--targets", tls: "give it a tls in the targets file", address: "its address" }
    : { token: "--sa-token-path", tls: "leave out --plain-target", address: "--target" };
}

/** Kubernetes answers it for every account, and other services with any status; it changes nothing. */
const probePath = "/version";

async function askTarget(
  target: CheckedTarget,
  credential: string | undefined,
  signal: AbortSignal,
): Promise<number> {
  const { address, dial } = target;
  const socket = await dial(signal);
  try {
    const head = headFrom(socket, target, signal);
    socket.write(encodeLatin1(
      `GET ${probePath} HTTP/1.1\r\nHost: ${formatAddress(address)}\r\n` +
        (credential === undefined ? "" : `${credential}\r\n`) +
        "User-Agent: culvert-agent-check\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    ));
    return (await head).status;
  } finally {
    socket.destroy();
  }
}

/** @returns the head of the answer. */
function headFrom(
  socket: ByteSocket,
  target: CheckedTarget,
  signal: AbortSignal,
): Promise<ResponseHead> {
  const { promise, resolve, reject } = Promise.withResolvers<ResponseHead>();
  const reader = HeadReader.forResponses(defaultHeadLimits);
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort);
  socket.on("data", (chunk) => {
    try {
      const head = reader.read(chunk);
      if (head) resolve(head);
    } catch (error) {
      if (!(error instanceof HeadError)) throw error;
      reject(new Error(malformed(error, target)));
    }
  });
  const ended = (): void =>
    reject(
      new Error(
        "the target ended the connection without an answer; if it speaks TLS, " +
          adviceFor(target).tls,
      ),
    );
  for (const event of ["end", "close", "error"] as const) socket.on(event, ended);
  socket.resume();
  return promise.finally(() => signal.removeEventListener("abort", abort));
}

function malformed({ message }: HeadError, target: CheckedTarget): string {
  const { tls, address } = adviceFor(target);
  if (message === headFaults.tls) return `the target speaks TLS; ${tls}`;
  return `the target's answer is not HTTP/1.1 (${message}); check ${address}`;
}
