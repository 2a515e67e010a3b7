package pocketbert.NAME;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Main WEIGHTS TOKENIZER TEXTS THREADS TIMES: every thread asks for every line (text, or text TAB pair) so often. */
final class Main {
  private static byte[] utf8(String text) {
    return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
  }

  private static String answer(long model, String line) {
    String[] texts = line.split("\t", -1);
    byte[] text = utf8(texts[0]), pair = utf8(texts.length > 1 ? texts[1] : null);
    int[] removed = new int[1];
    StringBuilder told = new StringBuilder();
    try {
      int kind = NativeModel.kind(model);
      if (kind == 3) for (float number : NativeModel.embed(model, text, pair, removed)) told.append(' ').append(number);
      else {
        double[] found = kind == 1 ? NativeModel.classify(model, text, pair, removed)
                                   : NativeModel.findEntities(model, text, removed);
        for (double number : found) told.append(' ').append(number);
      }
    } catch (IllegalArgumentException refused) {
      return "refused: " + refused.getMessage();
    }
    return removed[0] + told.toString();
  }

  private static List<String> answers(long model, List<String> lines) {
    List<String> all = new ArrayList<>();
    for (String line : lines) all.add(answer(model, line));
    return all;
  }

  public static void main(String[] words) throws Exception {
    List<String> lines = Files.readAllLines(Path.of(words[2]), StandardCharsets.UTF_8);
    long model;
    try {
      model = NativeModel.openFiles(utf8(words[0]), utf8(words[1]), 2, null);
    } catch (IOException problem) {
      System.out.println("cannot open: " + problem.getMessage());
      return;
    }
    List<String> expected = answers(model, lines);
    int threads = Integer.parseInt(words[3]), times = Integer.parseInt(words[4]);
    ExecutorService pool = Executors.newFixedThreadPool(threads);
    List<Callable<Boolean>> tasks = new ArrayList<>();
    for (int i = 0; i < threads; i++)
      tasks.add(() -> {
        for (int time = 0; time < times; time++) if (!answers(model, lines).equals(expected)) return false;
        return true;
      });
    for (Future<Boolean> done : pool.invokeAll(tasks)) if (!done.get()) throw new AssertionError("threads differ");
    pool.shutdown();
    for (int i = 0; NativeModel.label(model, i) != null; i++)
      System.out.println("label " + new String(NativeModel.label(model, i), StandardCharsets.UTF_8));
    for (String line : expected) System.out.println(line);
    NativeModel.close(model);
  }
}
