// SPDX-License-Identifier: LGPL-2.1-or-later
/// Catch2's own TAP reporter makes a test of each assertion. This one, --reporter tap-cases, makes
/// a test of each TEST_CASE, with the failed assertions as diagnostics, so that the numbers of
/// tests of all suites can be added up.
#include "tap.h"

#include <catch2/catch_test_case_info.hpp>
#include <catch2/interfaces/catch_interfaces_reporter.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
#include <catch2/reporters/catch_reporter_streaming_base.hpp>

#include <cstdio>
#include <sstream>
#include <string>

namespace {

class TapCases final : public Catch::StreamingReporterBase {
public:
    explicit TapCases(Catch::ReporterConfig&& config) : StreamingReporterBase(std::move(config)) {}

    static std::string getDescription() { // NOLINT(readability-identifier-naming): Catch2 calls it
        return "TAP with one test for each test case";
    }

    void assertionEnded(const Catch::AssertionStats& stats) override {
        const Catch::AssertionResult& result = stats.assertionResult;
        if (result.getResultType() == Catch::ResultWas::ExplicitSkip) {
            reason_ = std::string(result.getMessage());
        } else if (!result.isOk()) {
            describe(stats);
        }
    }

    void testCaseEnded(const Catch::TestCaseStats& stats) override {
        const Catch::Counts& cases = stats.totals.testCases;
        const bool failed = cases.failed > 0 || stats.aborting;
        const bool skipped = !failed && cases.skipped > 0;
        tap_point(!failed, "%s%s%s", stats.testInfo->name.c_str(), skipped ? " # SKIP " : "",
                  skipped ? one_line(reason_).c_str() : "");
        (void)std::fputs(diagnostics_.c_str(), stdout);
        (void)std::fflush(stdout);
        diagnostics_.clear();
        reason_.clear();
        StreamingReporterBase::testCaseEnded(stats);
    }

    void fatalErrorEncountered(Catch::StringRef error) override {
        diagnostics_ += "# " + one_line(std::string(error)) + '\n';
    }

    void testRunEnded(const Catch::TestRunStats& stats) override {
        tap_finish();
        StreamingReporterBase::testRunEnded(stats);
    }

private:
    static std::string one_line(std::string text) {
        for (char& c : text) {
            c = c == '\n' ? ' ' : c;
        }
        return text.empty() ? "no reason given" : text;
    }

    void describe(const Catch::AssertionStats& stats) {
        const Catch::AssertionResult& result = stats.assertionResult;
        std::ostringstream text;
        text << result.getSourceInfo() << ": " << result.getExpressionInMacro();
        if (result.hasExpandedExpression()) {
            text << "\nwith: " << result.getExpandedExpression();
        }
        if (result.hasMessage()) {
            text << "\n" << result.getMessage();
        }
        for (const auto& message : stats.infoMessages) {
            text << "\n" << message.message;
        }
        std::istringstream lines(text.str());
        for (std::string line; std::getline(lines, line);) {
            diagnostics_ += "# " + line + '\n';
        }
    }

    std::string diagnostics_;
    std::string reason_;
};

CATCH_REGISTER_REPORTER("tap-cases", TapCases)

} // namespace
