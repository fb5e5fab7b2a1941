/** The options of `access`, the program at the user's end. */
import { parseHost, parseListenAddress } from "../options/address.ts";
import {
  boolean,
  type Kind,
  listenAddress,
  parsedBy,
  path,
  targetAddress,
} from "../options/kinds.ts";
import type { CommandProgram, OptionTable, Program } from "../options/option_table.ts";
import { version } from "../version.ts";

/** What a service's address must look like; shared with the file of services. */
export const SERVICE_EXPECTED =
  "must be a service's hostname such as pg.example.com, or a URL: https://HOST[:PORT], " +
  "or http://RELAY-INTERNAL/tunnel-tcp/SERVICE";

/** Reads a hostname, with or without a port, or a URL without credentials, query and fragment. */
export function parseServiceUrl(text: string): URL | undefined {
  const isUrl = text.includes("://");
  if (!isUrl) {
    const isName = parseHost(text) !== undefined && !text.includes(":");
    if (!isName && !parseListenAddress(text)?.hostname) return undefined;
  }
  const url = URL.parse(isUrl ? text : `https://${text}`);
  if (!url || !["http:", "https:"].includes(url.protocol)) return undefined;
  if (url.username !== "" || url.password !== "" || /[?#]/.test(text)) return undefined;
  return url.pathname === "/" || /^\/tunnel-tcp\/[^/]+$/.test(url.pathname) ? url : undefined;
}

/** The same of a service that speaks HTTP: it has its hostname to itself. */
export function parseHttpServiceUrl(text: string): URL | undefined {
  const url = parseServiceUrl(text);
  return url?.pathname === "/" ? url : undefined;
}

const service: Kind<URL> = {
  placeholder: "HOSTNAME|URL",
  schema: parsedBy(parseServiceUrl, SERVICE_EXPECTED),
};

/** What such an address must look like. */
export const SERVICE_URL_EXPECTED =
  "must be a service's hostname such as dash.example.com, or a URL: https://HOST[:PORT]";

/** A service with a hostname to itself. */
export const httpService: Kind<URL> = {
  placeholder: "HOSTNAME|URL",
  schema: parsedBy(parseHttpServiceUrl, SERVICE_URL_EXPECTED),
};

const hostnameArgument = {
  name: "HOSTNAME",
  group: "Arguments",
  isArgument: true,
} as const;

/** How every command reaches the relay. */
export const dialTable = {
  connect: {
    name: "connect",
    group: "Connection",
    kind: targetAddress,
    description:
      "Connect to this address instead of the hostname's; TLS still verifies the hostname",
  },
  ca: {
    name: "ca",
    group: "Connection",
    kind: path,
    description:
      "CA certificates in PEM that verify the relay's certificate; without it, public CAs",
  },
  clientCert: {
    name: "client-cert",
    group: "Credentials",
    kind: path,
    description:
      "Certificate chain in PEM to show to a relay that asks for one; needs `--client-key`",
  },
  clientKey: {
    name: "client-key",
    group: "Credentials",
    kind: path,
    description:
      "Private key of that certificate in PEM, without a passphrase; needs `--client-cert`",
  },
} as const satisfies OptionTable;

/** The same, and what it shows there. */
const connectionTable = {
  ...dialTable,
  tokenFile: {
    name: "token-file",
    group: "Credentials",
    kind: path,
    description:
      "File that holds the token, read again for each connection (a pipe: once); without it, the token is " +
      "the environment variable `CULVERT_TOKEN`, if that is set, else that of `access login`",
  },
} as const satisfies OptionTable;

const jsonOption = {
  name: "json",
  group: "Output",
  kind: boolean,
  default: "false",
  description: "Print one JSON object a line, for programs",
} as const;

/** The options of `access tcp`. */
export const accessTcpTable = {
  service: {
    ...hostnameArgument,
    kind: service,
    description: "The service: its hostname, or a URL; left out with `--file`",
  },
  listen: {
    name: "listen",
    group: "Local side",
    kind: listenAddress,
    description: "Address to listen on; port 0 takes a free one",
  },
  stdio: {
    name: "stdio",
    group: "Local side",
    kind: boolean,
    default: "false",
    description:
      "Carry one connection on standard input and output, as ssh's ProxyCommand wants it",
  },
  file: {
    name: "file",
    group: "Local side",
    kind: path,
    description: "File in YAML or JSON that lists several services, each with its own port",
    see: "tcp.md#several-services-in-one-process",
  },
  ...connectionTable,
  json: jsonOption,
} as const satisfies OptionTable;

/** The options of `access http`. */
export const accessHttpTable = {
  service: {
    ...hostnameArgument,
    kind: httpService,
    isRequired: true,
    description: "The service: its hostname, or a URL",
  },
  listen: {
    name: "listen",
    group: "Local side",
    kind: listenAddress,
    isRequired: true,
    description: "Loopback address to listen on; port 0 takes a free one",
  },
  ...connectionTable,
  json: jsonOption,
} as const satisfies OptionTable;

/** The options of `access services`. */
export const accessServicesTable = {
  service: {
    ...hostnameArgument,
    kind: httpService,
    isRequired: true,
    description: "The hostname of any service of the relay, or a URL",
  },
  ...connectionTable,
  json: jsonOption,
} as const satisfies OptionTable;

/** What the commands end with. */
export const accessExitCodes = [
  { code: 0, meaning: "Stopped by SIGTERM or SIGINT, or done" },
  {
    code: 1,
    meaning: "The relay refused, or could not be reached; standard error has the reason",
  },
  {
    code: 2,
    meaning: "Did not start: a wrong option or file, an address in use, or a token that would " +
      "have left this machine over http://",
  },
] as const;

/** `access tcp` as its help text presents it. */
export const accessTcpProgram = {
  name: "access tcp",
  word: "tcp",
  title: "Open a local port that leads to a TCP service",
  version,
  usage: "HOSTNAME|URL --listen ADDRESS|--stdio [options]\n--file FILE [options]",
  summary: "Listens on a local port and carries each connection to a TCP service behind culvert, " +
    "in a WebSocket of its own. Before it listens it asks the relay whether the service is there " +
    "and the token is good. When a connection ends early it prints the reason. While the relay is unavailable, new connections wait for it for a few seconds.",
  options: accessTcpTable,
  examples: [
    {
      title: "A database",
      command: "access tcp pg.example.com --listen 127.0.0.1:5432 --token-file token",
    },
    {
      title: "ssh, in ~/.ssh/config",
      command: "ProxyCommand access tcp %h --stdio --token-file ~/.culvert-token",
    },
    { title: "Several services", command: "access tcp --file services.yaml" },
  ],
  exitCodes: accessExitCodes,
} as const satisfies CommandProgram<typeof accessTcpTable>;

/** `access http` as its help text presents it. */
export const accessHttpProgram = {
  name: "access http",
  word: "http",
  title: "Open a local port that adds the token to HTTP requests",
  version,
  usage: "HOSTNAME|URL --listen ADDRESS [options]",
  summary: "Listens on a local port and forwards HTTP requests to a service behind culvert, each " +
    "with the token. Programs on this machine then need no token. It accepts requests for localhost, " +
    "127.0.0.1 and [::1] only, and refuses those of other sites' pages.",
  options: accessHttpTable,
  examples: [
    {
      title: "A dashboard's API for curl",
      command: "access http dash.example.com --listen 127.0.0.1:8080 --token-file token",
    },
  ],
  exitCodes: accessExitCodes,
} as const satisfies CommandProgram<typeof accessHttpTable>;

/** `access services` as its help text presents it. */
export const accessServicesProgram = {
  name: "access services",
  word: "services",
  title: "List the services that the token opens",
  version,
  usage: "HOSTNAME|URL [options]",
  summary:
    "Asks a relay, by the hostname of any of its services, which services the token opens, " +
    "and prints a line for each: name, kind and hostnames.",
  options: accessServicesTable,
  examples: [
    { title: "As a table", command: "access services pg.example.com --token-file token" },
    {
      title: "The hostnames, for a script",
      command: "access services pg.example.com --json | jq -r '.hostnames[]'",
    },
  ],
  exitCodes: accessExitCodes,
} as const satisfies CommandProgram<typeof accessServicesTable>;

/** The program's own options: none. */
const accessTable = {} as const satisfies OptionTable;

/** The program as its help text presents it. */
export const accessProgram: Program<typeof accessTable> = {
  name: "access",
  version,
  usage: "COMMAND [options]",
  commands: [
    accessTcpProgram,
    accessHttpProgram,
    accessServicesProgram,
    { word: "login", title: "Sign in to services in a browser" },
    { word: "logout", title: "Sign out, and end what is open" },
    { word: "kubectl-token", title: "Print a token for kubectl, as its credential plugin" },
  ],
  summary:
    "The user's side of culvert, a reverse tunnel. Reaches TCP and HTTP services through a " +
    "relay from a workstation, with a token. It sends the token to the service's own hostname " +
    "only, and follows no redirects.",
  options: accessTable,
  examples: [
    {
      title: "psql through culvert",
      command: "access tcp pg.example.com --listen 127.0.0.1:5432 --token-file token &\n  " +
        "psql -h 127.0.0.1 -U app",
    },
  ],
  exitCodes: accessExitCodes,
};
