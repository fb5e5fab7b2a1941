/** Opens TCP connections. */
import { connect, type Socket } from "node:net";

/** Opens a connection. @throws {Error} what the system says, or the signal's reason */
export async function openConnection(
  hostname: string,
  port: number,
  signal: AbortSignal,
): Promise<Socket> {
  const socket = connect({ host: hostname, port });
  await untilConnected(socket, "connect", signal);
  return socket;
}

/**
 * Waits for a socket that is connecting.
 *
 * @throws {Error} what the socket says, or the signal's reason; the socket is destroyed then
 */
export async function untilConnected(
  socket: Socket,
  event: "connect" | "secureConnect",
  signal: AbortSignal,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort);
  // It stays: an error that comes before the connection's user listens would end the process.
  socket.on("error", reject);
  socket.once(event, () => resolve());
  if (signal.aborted) abort();
  try {
    await promise;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
