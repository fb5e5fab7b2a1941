/** All programs and commands, for what is made of their tables of options. */
import {
  clustersProgram,
  servicesProgram,
  sessionsProgram,
  statusProgram,
  streamsProgram,
} from "./commands/admin_options.ts";
import { argocdSecretProgram } from "./commands/argocd_options.ts";
import { drainProgram } from "./commands/drain_options.ts";
import { kubeconfigProgram } from "./commands/kubeconfig_options.ts";
import { tokenProgram } from "./commands/token_options.ts";
import type { Program } from "./options/option_table.ts";
import { relayProgram } from "./relay_program.ts";
import { accessHttpProgram, accessServicesProgram, accessTcpProgram } from "./tables/access.ts";
import {
  accessKubectlTokenProgram,
  accessLoginProgram,
  accessLogoutProgram,
} from "./tables/access_login.ts";
import { agentProgram } from "./tables/agent.ts";
import { operatorProgram } from "./tables/operator.ts";

/** What runs until it is stopped. */
export const programs: readonly Program[] = [relayProgram, agentProgram, operatorProgram];

/** What prints something and ends, with options of its own. */
export const commands: readonly Program[] = [
  kubeconfigProgram,
  argocdSecretProgram,
  tokenProgram,
  statusProgram,
  clustersProgram,
  servicesProgram,
  sessionsProgram,
  streamsProgram,
  accessTcpProgram,
  accessHttpProgram,
  accessServicesProgram,
  accessLoginProgram,
  accessLogoutProgram,
  accessKubectlTokenProgram,
  drainProgram,
];
