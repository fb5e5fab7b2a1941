/** The user's side: carries local connections to services behind a relay. See `--help`. */
import { parseAccessOptions } from "./lib/config/access_options.ts";
import { httpCommand } from "./lib/runtime/node/access/http_command.ts";
import { kubectlTokenCommand } from "./lib/runtime/node/access/kubectl_token_command.ts";
import { loginCommand } from "./lib/runtime/node/access/login_command.ts";
import { logoutCommand } from "./lib/runtime/node/access/logout_command.ts";
import { servicesCommand } from "./lib/runtime/node/access/services_command.ts";
import { tcpCommand } from "./lib/runtime/node/access/tcp_command.ts";
import { runProgram } from "./lib/runtime/node/program.ts";

const commands = [
  tcpCommand,
  httpCommand,
  servicesCommand,
  loginCommand,
  logoutCommand,
  kubectlTokenCommand,
];
const program = { name: "access", parse: parseAccessOptions, commands };

await runProgram<never>(program, () => Promise.reject(new Error("There is nothing to run")));
