/** A relay that answers as a test wants, for the side of `access` alone. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { connect, createServer as createTcpServer, type Server, type Socket } from "node:net";
// @ts-types="npm:@types/ws@8.18.2"
import { type WebSocket, WebSocketServer } from "ws";
import { within } from "../support/deadline.ts";

/** What a request asked for, for assertions. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** An answer of the relay's own. */
export interface StandInAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** How a stand-in behaves. */
export interface StandInOptions {
  /** Answers a plain request; 404 without. */
  readonly answer?: (asked: Asked) => StandInAnswer | undefined;
  /** Refuses a WebSocket, or accepts it. */
  readonly refuse?: (asked: Asked) => StandInAnswer | undefined;
  /** What an accepted WebSocket is joined to; its own echo when left out. */
  readonly serve?: (socket: WebSocket) => void;
  readonly port?: number;
}

/** A running stand-in. */
export interface StandInRelay extends AsyncDisposable {
  readonly port: number;
  readonly asked: Asked[];
}

/** What a relay says of a TCP service that anybody may open. */
export const openTcp: StandInAnswer = {
  status: 200,
  body: { service: "pg", kind: "tcp", signedIn: false, signInUrl: null },
};

/** An error as relays answer it. */
export function refusal(status: number, message: string): StandInAnswer {
  return { status, body: { error: { code: "refused", message } } };
}

/** Starts one on loopback. */
export async function startStandIn(options: StandInOptions = {}): Promise<StandInRelay> {
  const asked: Asked[] = [];
  const webSockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => offered.has("culvert.tcp.v1") && "culvert.tcp.v1",
  });
  const server = createServer((request, response) => {
    const one = askedOf(request);
    asked.push(one);
    send(response, options.answer?.(one) ?? refusal(404, "no such path"));
  });
  const open = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
  });
  const echo = await startEcho();
  server.on("upgrade", (request, socket, head) => {
    const one = askedOf(request);
    asked.push(one);
    const refused = options.refuse?.(one);
    if (refused) {
      socket.end(rawAnswer(refused));
      return;
    }
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on("error", () => {});
      if (options.serve) options.serve(webSocket);
      else joinTo(webSocket, echo);
    });
  });
  await listening(server, options.port ?? 0);
  const { port } = server.address() as { port: number };
  return {
    port,
    asked,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      for (const one of [server, echo]) {
        await within(new Promise((resolve) => one.close(resolve)), "a server to close");
      }
    },
  };
}

function askedOf({ method = "", url = "", headers }: IncomingMessage): Asked {
  return { method, path: url, headers };
}

function send(response: ServerResponse, { status, headers, body }: StandInAnswer): void {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(body === undefined ? "" : JSON.stringify(body));
}

function rawAnswer({ status, headers, body }: StandInAnswer): string {
  const text = JSON.stringify(body ?? {});
  const fields = { "Content-Type": "application/json", "Connection": "close", ...headers };
  const lines = Object.entries({ ...fields, "Content-Length": text.length });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  return `HTTP/1.1 ${status} Refused\r\n${head}\r\n${text}`;
}

/** A target that sends back what it gets, and ends when its peer has. */
async function startEcho(): Promise<Server> {
  const server = createTcpServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  await listening(server, 0);
  return server;
}

function joinTo(webSocket: WebSocket, target: Server): void {
  const { port } = target.address() as { port: number };
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  const ended = { socket: false, webSocket: false };
  const finish = () => ended.socket && ended.webSocket && webSocket.close(1000);
  socket.on("data", (bytes) => webSocket.send(bytes));
  socket.on("end", () => {
    ended.socket = true;
    webSocket.send('{"end":true}');
    finish();
  });
  socket.on("error", () => webSocket.close(1011, "the target broke"));
  webSocket.on("message", (data, isBinary) => {
    if (isBinary) return socket.write(data as Uint8Array);
    ended.webSocket = true;
    socket.end();
    finish();
  });
  webSocket.on("close", () => socket.destroy());
}

async function listening(server: Server, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.on("error", reject);
  server.listen(port, "127.0.0.1", resolve);
  await promise;
}
