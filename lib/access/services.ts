/** The services that a token opens: `GET /.culvert/services`. */
import { type Answer, refusalOf, ServiceError } from "./service_error.ts";

/** Where it is asked. */
export const servicesPath = "/.culvert/services";

/** A service that the one who asks may open. */
export interface OpenService {
  readonly name: string;
  readonly kind: string;
  readonly hostnames: readonly string[];
}

/** Reads the relay's answer. @throws {ServiceError} with one sentence */
export function readServices(answer: Answer, name: string): readonly OpenService[] {
  if (answer.status !== 200) throw refusalOf(answer, name);
  const services = parseServices(answer.body);
  if (services) return services;
  throw new ServiceError(`${name}: the server is not a culvert relay`, { status: answer.status });
}

function parseServices(body: string): OpenService[] | undefined {
  try {
    const { services } = JSON.parse(body);
    return Array.isArray(services) && services.every(isService) ? services : undefined;
  } catch {
    return undefined; // It is no JSON, and so no relay's answer.
  }
}

function isService(value: unknown): value is OpenService {
  if (typeof value !== "object" || value === null) return false;
  const { name, kind, hostnames } = value as Record<string, unknown>;
  return typeof name === "string" && typeof kind === "string" && Array.isArray(hostnames) &&
    hostnames.every((it) => typeof it === "string");
}

/** The list for people, or an object a line for programs; it ends with a line break. */
export function writeServices(services: readonly OpenService[], isJson: boolean): string {
  if (isJson) return services.map((it) => `${JSON.stringify(it)}\n`).join("");
  if (services.length === 0) return "No services\n";
  const rows = [
    ["NAME", "KIND", "HOSTNAMES"],
    ...services.map(({ name, kind, hostnames }) => [name, kind, hostnames.join(", ")]),
  ].map((row) => row.map((cell) => cell.replaceAll(/[^\x20-\x7e]/g, "?")));
  const widths = [0, 1].map((at) => Math.max(...rows.map((row) => row[at]!.length)));
  return rows.map(([name = "", kind = "", hostnames = ""]) =>
    `${name.padEnd(widths[0]!)}  ${kind.padEnd(widths[1]!)}  ${hostnames}\n`
  ).join("");
}
