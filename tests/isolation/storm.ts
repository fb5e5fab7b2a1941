/**
 * Callers in a storm: on so many connections, each sends its next request as soon as the answer to the
 * last has come, whatever that is, until this process is ended. It is a program of its own so that it
 * takes no time from the caller whose requests are measured.
 *
 * Arguments: what is asked for, a URL; how many connections.
 */
import { createConnection } from "node:net";

const [url = "", connections = "1"] = Deno.args;
const { hostname, port, pathname } = new URL(url);
const request = `GET ${pathname} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`;

/** Sends requests on a connection until it ends, and then on the next. */
function send(): void {
  const socket = createConnection({ host: hostname, port: Number(port) });
  socket.setEncoding("latin1");
  socket.once("connect", () => socket.write(request));
  let left = 0;
  socket.on("data", (text: unknown) => {
    let received = text as string;
    if (left === 0) {
      left = Number(/\r\ncontent-length: *(\d+)/i.exec(received)?.[1] ?? 0);
      received = received.slice(received.indexOf("\r\n\r\n") + 4);
    }
    left -= received.length;
    if (left <= 0) {
      left = 0;
      socket.write(request);
    }
  });
  socket.on("error", () => {}); // `close` follows.
  socket.on("close", () => setTimeout(send, 10));
}

for (let count = 0; count < Number(connections); count++) send();
