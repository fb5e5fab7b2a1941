/** Sockets, and what is on them, whose listeners can't end the process. */
import type { Socket } from "node:net";
import { reportFault } from "../../faults.ts";

/** What tells its listeners of events. */
interface Emitter {
  emit(...args: never[]): boolean;
}

/**
 * Has an exception of one of a socket's listeners end this connection, with a reset, and nothing
 * else. All that happens on a connection comes through its events; without this, Node
 * takes the exception for one that nobody can do anything about.
 */
export function guardSocket<S extends Socket>(socket: S): S {
  return guardEmitter(socket, () => endBroken(socket));
}

/** As {@link guardSocket}. @param end Ends what the emitter is of. */
export function guardEmitter<E extends Emitter>(emitter: E, end: () => void): E {
  const emit = emitter.emit;
  emitter.emit = function (this: E, ...args: never[]): boolean {
    try {
      return emit.apply(this, args);
    } catch (error) {
      reportFault("connection", error);
      end();
      return true;
    }
  };
  return emitter;
}

/** Runs what concerns one connection. An exception ends the connection, and nothing else. */
export function guarded(socket: Socket, run: () => void): void {
  try {
    run();
  } catch (error) {
    reportFault("connection", error);
    endBroken(socket);
  }
}

/** Ends a connection with a reset, so that an answer that was under way does not look whole. */
function endBroken(socket: Socket): void {
  if (!socket.destroyed) socket.resetAndDestroy();
}
