/** `access services`. */
import { readServices, servicesPath, writeServices } from "../../../access/services.ts";
import { type Command, commandOf } from "../../../commands/command.ts";
import { parseAccessServicesOptions } from "../../../config/access_options.ts";
import { refused } from "./output.ts";
import { getFromService } from "./service_connection.ts";

/** The command, for `access.ts`. */
export const servicesCommand: Command = commandOf({
  word: "services",
  parse: parseAccessServicesOptions,
  async make({ service, isJson, warnings }) {
    try {
      const answer = await getFromService(service, servicesPath, new AbortController().signal);
      return { text: writeServices(readServices(answer, service.name), isJson), warnings };
    } catch (error) {
      return refused(error);
    }
  },
});
