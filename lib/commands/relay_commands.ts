/** The commands of the relay. */
import {
  clustersCommand,
  servicesCommand,
  sessionsCommand,
  statusCommand,
  streamsCommand,
} from "./admin_commands.ts";
import { argocdSecretCommand } from "./argocd_secret.ts";
import type { Command } from "./command.ts";
import { kubeconfigCommand } from "./kubeconfig.ts";
import { tokenCommand } from "./token.ts";

/** All of them, in the order of the help text. */
export const relayCommands: readonly Command[] = [
  kubeconfigCommand,
  argocdSecretCommand,
  tokenCommand,
  statusCommand,
  clustersCommand,
  servicesCommand,
  sessionsCommand,
  streamsCommand,
];
