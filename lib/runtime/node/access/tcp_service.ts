/** Carries local connections to a TCP service. */
import type { AccessService } from "../../../config/access_options.ts";
import { retryWhileAway } from "../../../access/retry.ts";
import { type AccessEvent, reasonOf } from "../../../access/report.ts";
import { refusalOf, ServiceError } from "../../../access/service_error.ts";
import { checkWhoami, whoamiPath } from "../../../access/whoami.ts";
import { pipe } from "../../../net/pipe.ts";
import type { ByteSocket } from "../../../net/byte_socket.ts";
import { TcpChannel, TcpClose, type TcpEnd } from "../../../net/tcp_channel.ts";
import { dialService } from "./dial_service.ts";
import { getFromService } from "./service_connection.ts";

/**
 * Asks the relay whether the service is there and the token opens it, before anything listens.
 *
 * @throws {ServiceError} with one sentence
 */
export async function checkTcpService(service: AccessService, signal: AbortSignal): Promise<void> {
  if (!service.isInternal) {
    checkWhoami(await getFromService(service, whoamiPath, signal), service.name, "tcp");
    return;
  }
  // The internal listener has no `/.culvert/`: what is let in is told to upgrade.
  const answer = await getFromService(service, service.tcpPath, signal);
  if (answer.status !== 426) throw refusalOf(answer, service.name);
}

/**
 * Carries one local connection until both ways have ended. The local socket is paused.
 *
 * @returns the reason for the user, unless it ended in good order
 */
export async function carry(
  service: AccessService,
  local: ByteSocket,
  signal: AbortSignal,
): Promise<AccessEvent | undefined> {
  const gone = new AbortController();
  const leave = (): void => gone.abort(new Error("the local connection ended"));
  local.on("close", leave);
  // It stays: an error that comes while the relay is dialled must not end the process.
  local.on("error", leave);
  const either = AbortSignal.any([signal, gone.signal]);
  try {
    const socket = await retryWhileAway(() => dialService(service, either), either);
    local.off("close", leave);
    if (local.destroyed) {
      socket.terminate();
      return undefined;
    }
    const end = await joined(socket, local, signal);
    const reason = reasonOf(end);
    return reason === undefined ? undefined : { event: "ended", service: service.name, reason };
  } catch (error) {
    local.resetAndDestroy();
    if (gone.signal.aborted || signal.aborted) return undefined;
    const { message } = error as Error;
    const reason = error instanceof ServiceError ? message : `${service.name}: ${message}`;
    return { event: "failed", service: service.name, reason };
  }
}

function joined(
  socket: Awaited<ReturnType<typeof dialService>>,
  local: ByteSocket,
  signal: AbortSignal,
): Promise<TcpEnd> {
  const { promise, resolve } = Promise.withResolvers<TcpEnd>();
  const broken = () => ({ code: TcpClose.CallerBroke, reason: "" });
  const channel = new TcpChannel(socket, { broken, over: resolve });
  const stop = (): void => {
    channel.closeWith(TcpClose.CallerBroke, "access was stopped");
    local.resetAndDestroy();
  };
  signal.addEventListener("abort", stop);
  const closed = Promise.withResolvers<void>();
  pipe(local, channel, { closed: () => closed.resolve() });
  if (signal.aborted) stop();
  return Promise.all([promise, closed.promise]).then(([end]) => {
    signal.removeEventListener("abort", stop);
    return end;
  });
}
