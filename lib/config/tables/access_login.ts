/** The options of `access login`, `access logout` and `access kubectl-token`. */
import { z } from "zod";
import { clusterIdSchema } from "../entries/clusters.ts";
import { boolean, duration, type Kind } from "../options/kinds.ts";
import type { CommandProgram, OptionTable } from "../options/option_table.ts";
import { version } from "../version.ts";
import {
  accessExitCodes,
  dialTable,
  httpService,
  parseHttpServiceUrl,
  SERVICE_URL_EXPECTED,
} from "./access.ts";

const services: Kind<readonly URL[]> = {
  placeholder: "HOSTNAME|URL,…",
  schema: z.string().transform((text, context) => {
    const urls = text.split(",").map((part) => parseHttpServiceUrl(part.trim()));
    if (urls.every((url) => url !== undefined)) return urls;
    context.addIssue({ code: "custom", message: SERVICE_URL_EXPECTED });
    return z.NEVER;
  }),
};

const clusterIds: Kind<readonly string[]> = {
  placeholder: "ID,…",
  schema: z.string().transform((text) => text.split(","))
    .pipe(z.array(clusterIdSchema)),
};

const signInTable = {
  cluster: {
    name: "cluster",
    group: "Sign-in",
    kind: clusterIds,
    isRepeatable: true,
    description: "Cluster that the token is to open at the relay's internal listener, under " +
      "`/tunnel/ID`; HOSTNAME is then the login host",
  },
  device: {
    name: "device",
    group: "Sign-in",
    kind: boolean,
    default: "false",
    description: "Print a code for a browser on another machine, if the relay's operator allows " +
      "that with `deviceFlow`",
  },
  noBrowser: {
    name: "no-browser",
    group: "Sign-in",
    kind: boolean,
    default: "false",
    description: "Print the URL and open no browser",
  },
  timeout: {
    name: "timeout",
    group: "Sign-in",
    kind: duration({ min: "1ms" }),
    default: "3m",
    description: "Time to sign in; other processes that need the same sign-in wait as long",
  },
} as const satisfies OptionTable;

/** The options of `access login`. */
export const accessLoginTable = {
  services: {
    name: "HOSTNAME",
    group: "Arguments",
    isArgument: true,
    kind: services,
    isRequired: true,
    description: "The services, separated by commas: hostnames, or URLs. They must belong to " +
      "one relay",
  },
  ...signInTable,
  ...dialTable,
} as const satisfies OptionTable;

/** The options of `access logout`. */
export const accessLogoutTable = {
  service: {
    name: "HOSTNAME",
    group: "Arguments",
    isArgument: true,
    kind: httpService,
    description: "The service, as given to `access login`; without it, all services",
  },
  ...dialTable,
} as const satisfies OptionTable;

/** The options of `access kubectl-token`. */
export const accessKubectlTokenTable = {
  service: {
    name: "HOSTNAME",
    group: "Arguments",
    isArgument: true,
    kind: httpService,
    isRequired: true,
    description: "The hostname of a service whose target is an API server, or a URL; with " +
      "`--cluster`, the login host",
  },
  ...signInTable,
  ...dialTable,
} as const satisfies OptionTable;

/** `access login` as its help text presents it. */
export const accessLoginProgram = {
  name: "access login",
  word: "login",
  title: "Sign in to services in a browser",
  version,
  usage: "HOSTNAME|URL,… [options]",
  summary: "Opens a browser in which you sign in, and keeps the token in tokens.json, in " +
    "$XDG_CONFIG_HOME/culvert or ~/.config/culvert. The token is valid for the named hosts and for 15 minutes; the other commands renew it until the session ends.",
  options: accessLoginTable,
  examples: [
    { title: "Two services, one sign-in", command: "access login dash.example.com,pg.example.com" },
    {
      title: "On a machine without a browser",
      command: "access login pg.example.com --device",
    },
    {
      title: "kubectl at the relay's internal listener",
      command: "access login login.example.com --cluster dev",
    },
  ],
  exitCodes: accessExitCodes,
} as const satisfies CommandProgram<typeof accessLoginTable>;

/** `access logout` as its help text presents it. */
export const accessLogoutProgram = {
  name: "access logout",
  word: "logout",
  title: "Sign out, and end what is open",
  version,
  usage: "[HOSTNAME|URL] [options]",
  summary:
    "Ends the session at the relay and everything that is open in it, and removes the token " +
    "from this machine. Browser sessions continue.",
  options: accessLogoutTable,
  examples: [
    { title: "One service", command: "access logout pg.example.com" },
    { title: "All", command: "access logout" },
  ],
  exitCodes: accessExitCodes,
} as const satisfies CommandProgram<typeof accessLogoutTable>;

/** `access kubectl-token` as its help text presents it. */
export const accessKubectlTokenProgram = {
  name: "access kubectl-token",
  word: "kubectl-token",
  title: "Print a token for kubectl, as its credential plugin",
  version,
  usage: "HOSTNAME|URL [options]",
  summary: "Prints an ExecCredential of client.authentication.k8s.io/v1 with your token. If " +
    "you are not signed in, it starts a sign-in first; messages go to standard error. kubectl runs it by itself with a kubeconfig of relay kubeconfig --login. Several " +
    "kubectl at once open one browser.",
  options: accessKubectlTokenTable,
  examples: [
    { title: "A service of its own", command: "access kubectl-token kube.example.com" },
    {
      title: "The relay's internal listener",
      command: "access kubectl-token login.example.com --cluster dev",
    },
  ],
  exitCodes: accessExitCodes,
} as const satisfies CommandProgram<typeof accessKubectlTokenTable>;
