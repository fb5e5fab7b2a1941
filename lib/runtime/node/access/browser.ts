/** Opens the user's browser, where there is one. */
import { spawn } from "node:child_process";
import process from "node:process";
import { type Environment, variableOf } from "../../../config/options/environment.ts";

/** Starts the user's browser. @returns whether there seems to be one */
export function openBrowser(url: string, env: Environment): boolean {
  const command = browserOf(env);
  if (!command) return false;
  const [program, ...args] = command;
  try {
    const child = spawn(program!, [...args, url], { detached: true, stdio: "ignore" });
    // It was there a moment ago, or it says for itself what is wrong: the URL is printed as well.
    child.on("error", () => {});
    child.unref();
    return true;
  } catch {
    return false; // Without the permission to start programs the URL is all that is left.
  }
}

function browserOf(env: Environment): readonly string[] | undefined {
  const chosen = variableOf(env, "BROWSER");
  if (chosen) return chosen.split(" ").filter((part) => part !== "");
  switch (process.platform) {
    case "darwin":
      return ["open"];
    case "win32":
      return ["rundll32", "url.dll,FileProtocolHandler"];
    default: {
      const hasScreen = variableOf(env, "DISPLAY") || variableOf(env, "WAYLAND_DISPLAY");
      return hasScreen ? ["xdg-open"] : undefined;
    }
  }
}
