/**
 * The credential plugin of kubectl and client-go: what they ask in `KUBERNETES_EXEC_INFO`, and the
 * `ExecCredential` that they read from standard output.
 */
import { z } from "zod";

const apiVersions = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

const infoSchema = z.object({ apiVersion: z.string(), kind: z.literal("ExecCredential") });

/** The version in which the answer is to be given. @throws {RangeError} with one sentence */
export function askedVersion(info: string | undefined): string {
  if (info === undefined || info === "") return apiVersions[0]!;
  let value: unknown;
  try {
    value = JSON.parse(info);
  } catch {
    throw new RangeError("is not JSON");
  }
  const result = infoSchema.safeParse(value);
  if (!result.success) throw new RangeError("is not an ExecCredential");
  const { apiVersion } = result.data;
  if (apiVersions.includes(apiVersion)) return apiVersion;
  throw new RangeError(`asks for ${JSON.stringify(apiVersion)}; use ${apiVersions.join(" or ")}`);
}

/** The answer, in one line. @param expiresMs milliseconds since 1970 */
export function execCredential(apiVersion: string, token: string, expiresMs: number): string {
  // RFC 3339 in whole seconds, as Kubernetes writes times.
  const expirationTimestamp = new Date(expiresMs).toISOString().replace(/\.\d+Z$/, "Z");
  const status = { expirationTimestamp, token };
  return `${JSON.stringify({ apiVersion, kind: "ExecCredential", status })}\n`;
}
