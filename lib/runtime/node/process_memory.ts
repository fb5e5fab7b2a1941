/** The process's memory, where metrics can't read it as they do elsewhere. */
import { readFileSync } from "node:fs";
import process from "node:process";

/**
 * Tells the memory if nothing below /proc can be read: Deno opens none of it for a program that has
 * not all permissions, and ours never have.
 */
export function memoryWithoutProc(): (() => number) | undefined {
  try {
    readFileSync("/proc/self/status");
    return undefined;
  } catch {
    return () => process.memoryUsage().rss;
  }
}
