/** What all clients of a Redis have in common. */
import type { ConnectionOptions } from "node:tls";
import { advised, type TlsAdvice } from "../../tls_advice.ts";
import { verifyingOptions } from "../verified_tls.ts";
import type { StoreLogin } from "../../../config/store_address.ts";

/** How long a connection may take, TLS included, in milliseconds. */
const connectTimeoutMs = 2_000;
/** Commands that wait for their replies; more are refused at once. */
const maxCommands = 20_000;
/** The time between two pings of one of several servers, in milliseconds. */
const pingMs = 1_000;
/** How long one of several servers may be silent before its connection is given up, in milliseconds. */
const silenceMs = 3_000;

/** Options of every client. */
export const commonOptions = {
  name: "culvert-relay",
  // A command that can't be sent now is refused now: whoever waits for it has a caller waiting.
  disableOfflineQueue: true,
  commandsQueueMaxLength: maxCommands,
} as const;

/** Options of every socket. */
export const commonSocket = {
  connectTimeout: connectTimeoutMs,
  keepAlive: true,
  keepAliveInitialDelay: 10_000,
} as const;

/**
 * For a client of one server of several, whose address the others tell. A server that has stopped
 * answers nothing, not even while a connection to it begins, so silence ends it. A connection that is
 * lost stays so: where to connect next is asked first.
 */
export function memberOptions(login: StoreLogin, isTls: boolean) {
  return {
    ...commonOptions,
    ...login,
    pingInterval: pingMs,
    socket: {
      ...commonSocket,
      socketTimeout: silenceMs,
      reconnectStrategy: false,
      ...isTls ? { tls: true, ...tlsOptions() } as const : {},
    },
  } as const;
}

/**
 * TLS to a server. The client writes nothing before it has been told that the peer is trusted.
 *
 * @param name what its certificate must hold; without one, the host that is connected to
 */
export function tlsOptions(name?: string): ConnectionOptions {
  return verifyingOptions({ name, advice: tlsAdvice });
}

const tlsAdvice: TlsAdvice = {
  notTls: "a Redis without TLS is redis://",
  unknownCa: "it must come from a public CA, or from one in the file that DENO_CERT names",
  otherName: "--directory must be a name that its certificate holds",
  dates: "renew it, or set the clock",
};

/** Why it failed; an error of several addresses at once has its text inside. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return reasonOf(error.errors[0]);
  return error instanceof Error ? advised(error.message, tlsAdvice) : String(error);
}
