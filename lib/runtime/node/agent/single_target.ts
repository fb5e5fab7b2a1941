/** The target that the agent's options describe: how it is dialled. */
import type { AgentConfigSource } from "../../../agent/metrics.ts";
import type { AgentOptions } from "../../../config/agent_options.ts";
import { formatAddress } from "../../../config/options/address.ts";
import type { Log } from "../../../log.ts";
import type { ByteSocket } from "../../../net/byte_socket.ts";
import { dialTlsTarget } from "../../deno/dial_tls_target.ts";
import { dialTarget } from "../dial_target.ts";
import { PlainTarget } from "../plain_target.ts";
import type { TlsFiles } from "../tls_files.ts";

/** Connects to a target, unless the signal comes first. @throws {StreamError} */
export type TargetDialer = (signal: AbortSignal) => Promise<ByteSocket>;

/**
 * How the target of `--target` is reached, with what the TLS files hold then; nothing without one.
 *
 * @param log Is told when a target in plain HTTP speaks TLS in truth.
 */
export function singleDialer(
  options: AgentOptions,
  tlsFiles: TlsFiles<AgentConfigSource>,
  log?: Pick<Log, "warn">,
): TargetDialer | undefined {
  const { target, targetTls, dialTimeoutMs: timeoutMs } = options;
  if (!target) return undefined;
  const address = { ...target, serverName: targetTls?.serverName, timeoutMs };
  if (targetTls && !targetTls.isInsecure) {
    return (signal) => dialTlsTarget({ ...address, ca: tlsFiles.pem("ca-cert") }, signal);
  }
  if (targetTls) return (signal) => dialTarget({ ...address, isTls: true }, signal);
  const dial: TargetDialer = (signal) => dialTarget({ ...address, isTls: false }, signal);
  if (!log) return dial;
  const watch = new PlainTarget({
    ...target,
    found: () =>
      log.warn("The target speaks TLS; leave out --plain-target", {
        target: formatAddress(target),
      }),
  });
  return async (signal) => watch.watch(await dial(signal));
}
