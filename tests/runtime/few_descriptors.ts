/**
 * A listener in a process that is to have few file descriptors. Prints its port, and a line whenever
 * it was opened anew; answers whether there are descriptors left.
 */
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { defaultConnectionTimeouts } from "../../lib/net/http_connection.ts";
import { HttpServer } from "../../lib/runtime/node/http_server.ts";

function hasDescriptors(): boolean {
  try {
    Deno.openSync("/dev/null").close();
    return true;
  } catch {
    return false;
  }
}

const server = new HttpServer({
  fetch: () => new Response(hasDescriptors() ? "some" : "none"),
  limits: defaultHeadLimits,
  connections: { max: 0, maxPerAddress: 0 },
  timeouts: defaultConnectionTimeouts,
  sweepMs: 200,
  deafened: () => console.log("opened anew"),
  fault: (error) => {
    throw error;
  },
});
const { port } = await server.listen("127.0.0.1", 0);
console.log(port);
