/** kubectl and helm with one kubeconfig, and nothing of the user's own settings or caches. */
import { type CommandOptions, type CommandResult, LiveCommand, run } from "./command.ts";

/** A way of reaching a cluster. */
export class KubeClient {
  readonly #env: Readonly<Record<string, string>>;

  /** `home` holds what kubectl and helm cache: answers of one way must not serve the other. */
  constructor(kubeconfig: string, home: string) {
    this.#env = { KUBECONFIG: kubeconfig, HOME: home, KUBECACHEDIR: `${home}/kube-cache` };
  }

  /** Runs kubectl to its end, whatever its exit code. */
  async kubectl(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    return await run("kubectl", args, { ...options, env: { ...this.#env, ...options.env } });
  }

  /** Runs kubectl, which must succeed, and returns what it printed. */
  async output(args: readonly string[], options: CommandOptions = {}): Promise<string> {
    return printed("kubectl", args, await this.kubectl(args, options));
  }

  /** Runs kubectl, which must succeed, and returns the JSON it printed. */
  async json(args: readonly string[], options: CommandOptions = {}): Promise<unknown> {
    return JSON.parse(await this.output(args, options));
  }

  /** Starts a kubectl that goes on, such as a watch. */
  start(args: readonly string[], env: Readonly<Record<string, string>> = {}): LiveCommand {
    return LiveCommand.start("kubectl", args, { ...this.#env, ...env });
  }

  /** Runs helm, which must succeed, and returns what it printed. */
  async helm(args: readonly string[], options: CommandOptions = {}): Promise<string> {
    const env = { ...this.#env, ...options.env };
    return printed("helm", args, await run("helm", args, { ...options, env }));
  }
}

function printed(program: string, args: readonly string[], result: CommandResult): string {
  if (result.code !== 0) {
    throw new Error(
      `"${program} ${args.join(" ")}" ended with code ${result.code}:\n${result.stdout}` +
        result.stderr,
    );
  }
  return result.stdout;
}
