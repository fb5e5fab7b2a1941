/**
 * The two ways in which kubectl carries exec, attach and port-forward. It falls back from WebSocket
 * to SPDY by itself, so a test of one has to make sure that it was not the other.
 */
import { equal, notEqual } from "node:assert/strict";

/** A way of carrying a connection that an HTTP request was upgraded to. */
export interface Transport {
  readonly name: string;
  /** What makes kubectl use it. */
  readonly env: Readonly<Record<string, string>>;
  /** Method of the request that is upgraded: what tells the two apart in kubectl's log. */
  readonly method: "GET" | "POST";
}

/** Both, the one that kubectl prefers first. */
export const transports: readonly Transport[] = [
  { name: "WebSocket", env: transportEnv("true"), method: "GET" },
  { name: "SPDY", env: transportEnv("false"), method: "POST" },
];

function transportEnv(usesWebSockets: "true" | "false"): Record<string, string> {
  return {
    KUBECTL_REMOTE_COMMAND_WEBSOCKETS: usesWebSockets,
    KUBECTL_PORT_FORWARD_WEBSOCKETS: usesWebSockets,
  };
}

/** Argument that makes kubectl log its requests on standard error. */
export const logsRequests = "-v=6";

/** Asserts that a kubectl with {@link logsRequests} upgraded by this transport, and by no other. */
export function assertTransport(
  transport: Transport,
  subresource: "exec" | "attach" | "portforward",
  stderr: string,
): void {
  const request = new RegExp(`\\b(GET|POST)\\b.*/pods/[^/]+/${subresource}\\b`);
  const methods = stderr.split("\n").flatMap((line) => request.exec(line)?.[1] ?? []);
  notEqual(methods.length, 0, `No request for ${subresource} in kubectl's log:\n${stderr}`);
  for (const method of methods) equal(method, transport.method, stderr);
}
